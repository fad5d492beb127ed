"""Build what pyproject.toml cannot say: the Cython core, the stubs and the synchronous client.

The core is in ext/, the stubs are made of protos/, that client is made of the asynchronous one; all
of it lands in the build folder only. OWNERD_DEBUG=1 adds assertions, OWNERD_SANITIZE=1 adds ASan
and UBSan (run Python with libasan preloaded then).
"""

import os
import shlex
import subprocess
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

ROOT = Path(__file__).parent
PROTOS = ("ownerd/v1/dial.proto", "ownerd/v1/admin.proto")
DEBUG = os.environ.get("OWNERD_DEBUG") == "1"
SANITIZE = os.environ.get("OWNERD_SANITIZE") == "1"

COMPILE_ARGS = ["-std=c++17", "-Wall", "-Wextra", "-Wno-unused-parameter", "-fvisibility=hidden"]
COMPILE_ARGS += ["-O1", "-g"] if DEBUG or SANITIZE else ["-O3"]
LINK_ARGS = ["-pthread"]
if SANITIZE:
    # What is undefined ends the process too: a line on stderr would pass unseen.
    COMPILE_ARGS += ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    COMPILE_ARGS += ["-fno-omit-frame-pointer"]
    LINK_ARGS += ["-fsanitize=address,undefined"]

# Rooms that speak HTTP/2, by the system's libnghttp2 and OpenSSL. Without these they are left out:
# grpcio serves the dial port then.
HTTP2_LIBRARIES = {"libnghttp2": "libnghttp2-dev", "openssl": "libssl-dev"}
HTTP2_ROOMS = {
    "listener",
    "listener_access",
    "listener_connection",
    "listener_exchange",
    "listener_loop",
    "listener_transport",
    "load_channel",
    "load_http2",
    "load_tls",
    "tls",
}


def package_flags(packages):
    """Return (compile, link) flags of system libraries; None, and a line, where one is missing."""
    try:
        return [
            shlex.split(
                subprocess.run(
                    ["pkg-config", flag, *packages], capture_output=True, text=True, check=True
                ).stdout
            )
            for flag in ("--cflags", "--libs")
        ]
    except (OSError, subprocess.CalledProcessError):
        wanted = " or ".join(packages)
        print(
            f"ownerd: pkg-config or {wanted} was not found (Debian: pkg-config, "
            f"{', '.join(packages.values())}): no native dial listener"
        )
        return None


def native_extensions():
    http2 = package_flags(HTTP2_LIBRARIES)
    extensions = []
    for source in sorted((ROOT / "ext" / "ownerd").glob("*.pyx")):
        if source.stem in HTTP2_ROOMS and http2 is None:
            continue
        compile_flags, link_flags = http2 if source.stem in HTTP2_ROOMS else ([], [])
        extensions.append(
            Extension(
                f"ownerd.{source.stem}",
                [str(source.relative_to(ROOT))],
                language="c++",
                extra_compile_args=COMPILE_ARGS + compile_flags,
                extra_link_args=LINK_ARGS + link_flags,
            )
        )
    return extensions


class BuildNative(build_ext):
    """Translate the .pyx files into the build folder, then compile them."""

    def finalize_options(self):
        from Cython.Build import cythonize

        self.set_undefined_options("build", ("build_temp", "build_temp"))
        self.distribution.ext_modules = cythonize(
            self.distribution.ext_modules,
            include_path=["ext"],
            build_dir=self.build_temp,
            compiler_directives={
                "language_level": 3,
                "boundscheck": DEBUG,
                "wraparound": False,
                "cdivision": True,
                "embedsignature": True,
            },
        )
        super().finalize_options()


def generate_client(out_dir):
    """Make the synchronous client of the asynchronous one, in the package below `out_dir`."""
    import unasync

    package = Path("ownerd", "client")
    source = ROOT / "src" / package / "_async.py"
    target = Path(out_dir).absolute() / package / "_sync.py"
    # AsyncTransport becomes SyncTransport by itself, as every name that begins so.
    names = {"AsyncClient": "Client", "AsyncGenerator": "Iterator"}
    unasync.unasync_files([str(source)], [unasync.Rule(str(source), str(target), names)])


class BuildPython(build_py):
    """Generate the synchronous client and the stubs next to the copied sources."""

    def run(self):
        super().run()
        generate_client(self.build_lib)
        from grpc_tools import protoc

        out = Path(self.build_lib)
        protos = ROOT / "protos"
        well_known = Path(protoc.__file__).parent / "_proto"
        arguments = ["protoc", f"-I{protos}", f"-I{well_known}"]
        arguments += [
            f"--python_out={out}",
            f"--pyi_out={out}",
            f"--grpc_python_out={out}",
            *PROTOS,
        ]
        if protoc.main(arguments) != 0:
            raise SystemExit("protoc could not compile the files in protos/; see the lines above")
        (out / "ownerd" / "v1" / "__init__.py").write_text(
            '"""Generated from protos/ownerd/v1."""\n'
        )


class SourceArchive(sdist):
    """Take along what the build and the tests need besides the Python sources."""

    def make_distribution(self):
        for pattern in ("ext/**/*.p??", "protos/**/*.proto", "tests/**/*", "benchmarks/*.py"):
            files = (path for path in ROOT.glob(pattern) if path.is_file())
            self.filelist.extend(
                str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts
            )
        super().make_distribution()


setup(
    ext_modules=native_extensions(),
    cmdclass={"build_ext": BuildNative, "build_py": BuildPython, "sdist": SourceArchive},
)
