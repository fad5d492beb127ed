"""Build what pyproject.toml cannot say: the Cython core, the stubs and the synchronous client.

The core is in ext/, the stubs are made of protos/, that client is made of the asynchronous one; all
of it lands in the build folder only. OWNERD_DEBUG=1 adds assertions, OWNERD_SANITIZE=1 adds ASan
and UBSan (run Python with libasan preloaded then).
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

ROOT = Path(__file__).parent
NATIVE = ROOT / "ext" / "ownerd"
PROTOS = ("ownerd/v1/dial.proto", "ownerd/v1/admin.proto")
DEBUG = os.environ.get("OWNERD_DEBUG") == "1"
SANITIZE = os.environ.get("OWNERD_SANITIZE", "")
TESTING = os.environ.get("OWNERD_TESTING") == "1"
JOBS = os.cpu_count() or 1
FLAVOUR = "-".join(
    ["debug" if DEBUG else "release"]
    + ([{"1": "address"}.get(SANITIZE, SANITIZE)] if SANITIZE else [])
    + (["testing"] if TESTING else [])
)
BUILD = f"build/{FLAVOUR}"
PLACE = f"{sysconfig.get_platform()}-{sys.implementation.cache_tag}"  # as setuptools names folders

COMPILE_ARGS = ["-std=c++17", "-Wall", "-Wextra", "-Wno-unused-parameter", "-fvisibility=hidden"]
COMPILE_ARGS += ["-O1", "-g"] if DEBUG or SANITIZE else ["-O3", "-g0"]
LINK_ARGS = ["-pthread"]
if DEBUG:
    COMPILE_ARGS += ["-D_GLIBCXX_ASSERTIONS", "-DOWNERD_DEBUG"]
if TESTING:
    COMPILE_ARGS += ["-DOWNERD_TESTING"]
if SANITIZE:
    # What is undefined ends the process too: a line on stderr would pass unseen.
    kinds = {"1": ["address,undefined"], "thread": ["thread"]}[SANITIZE]
    LINK_ARGS += [f"-fsanitize={kind}" for kind in kinds]
    COMPILE_ARGS += [*LINK_ARGS[1:], "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]

# What speaks HTTP/2, by the system's libnghttp2 and OpenSSL, is in these folders, beside a few that
# do not. Without the libraries it is left out: grpcio serves the dial port then, by way of the
# bridge to asyncio.
HTTP2_LIBRARIES = {"libnghttp2": "libnghttp2-dev", "openssl": "libssl-dev"}
HTTP2_FOLDERS = {"cluster", "net", "load"}
HTTP2_OF_BASE = {NATIVE / "base" / f"{name}.pyx" for name in ("channel", "secure_channel", "tls")}
WITHOUT_HTTP2 = {NATIVE / "net" / "aio_bridge.pyx"} | {
    NATIVE / "load" / f"{name}.pyx" for name in ("engine", "plan", "tally", "threads")
}
TESTING_ONLY = {NATIVE / "load" / "engine.pyx", *NATIVE.glob("*/testing.pyx")}


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
    """Return an extension for each .pyx file of this build, named after its folder and itself."""
    http2 = package_flags(HTTP2_LIBRARIES)
    extensions = []
    for source in sorted(NATIVE.rglob("*.pyx")):
        speaks_http2 = source in HTTP2_OF_BASE or (
            source.parent.name in HTTP2_FOLDERS and source not in WITHOUT_HTTP2
        )
        if (speaks_http2 and http2 is None) or (source in TESTING_ONLY and not TESTING):
            continue
        compile_flags, link_flags = http2 if speaks_http2 else ([], [])
        extensions.append(
            Extension(
                ".".join(source.relative_to(NATIVE.parent).with_suffix("").parts),
                [str(source.relative_to(ROOT))],
                language="c++",
                extra_compile_args=COMPILE_ARGS + compile_flags,
                extra_link_args=LINK_ARGS + link_flags,
            )
        )
    return extensions


EXTENSIONS = native_extensions()


def generate_stubs(out):
    """Write the protobuf and gRPC stubs of protos/ below `out`."""
    from grpc_tools import protoc

    protos = ROOT / "protos"
    well_known = Path(protoc.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{protos}", f"-I{well_known}"]
    arguments += [f"--python_out={out}", f"--pyi_out={out}", f"--grpc_python_out={out}", *PROTOS]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc could not compile the files in protos/; see the lines above")
    (out / "ownerd" / "v1" / "__init__.py").write_text('"""Generated from protos/ownerd/v1."""\n')


def generate_client(out):
    """Make the synchronous client of the asynchronous one, in the package below `out`."""
    import unasync

    package = Path("ownerd", "client")
    source = ROOT / "src" / package / "_async.py"
    target = out.absolute() / package / "_sync.py"
    # AsyncTransport becomes SyncTransport by itself, as every name that begins so.
    names = {"AsyncClient": "Client", "AsyncGenerator": "Iterator"}
    unasync.unasync_files([str(source)], [unasync.Rule(str(source), str(target), names)])


def write_commit(out):
    """Write the commit that this is built of below `out`; a source archive has its own with it."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return
    (out / "ownerd" / "commit.txt").write_text(found)


def copy_packages(out):
    """Copy the Python files of the native packages below `out`, where their modules land.

    The modules of an earlier build that are no longer in this one go.
    """
    modules = {extension.name for extension in EXTENSIONS}
    for source in NATIVE.rglob("__init__.py"):
        package = source.parent.relative_to(NATIVE.parent)
        folder = out / package
        folder.mkdir(parents=True, exist_ok=True)
        for former in [*folder.glob("*.so"), *folder.glob("*.pyi")]:
            name = ".".join((*package.parts, former.name.split(".")[0]))
            if former.suffix == ".pyi" or name not in modules:
                former.unlink()
        stubs = (
            stub
            for stub in source.parent.glob("*.pyi")
            if TESTING or stub.with_suffix(".pyx") not in TESTING_ONLY
        )
        for each in (source, *stubs):
            shutil.copyfile(each, folder / each.name)


def generate_python(out):
    """Write all Python that is not in src/ below `out`."""
    out.mkdir(parents=True, exist_ok=True)
    generate_stubs(out)
    generate_client(out)
    copy_packages(out)
    write_commit(out)


class BuildNative(build_ext):
    """Translate the .pyx files into the build folder, then compile them, on all processors."""

    def finalize_options(self):
        from Cython.Build import cythonize

        if self.editable_mode:
            # setuptools means to build in a folder that it deletes; ours is used again.
            self.build_lib, self.build_temp = (
                f"{BUILD}/{kind}.{PLACE}" for kind in ("lib", "temp")
            )
        self.set_undefined_options("build", ("build_temp", "build_temp"))
        self.distribution.ext_modules = cythonize(
            self.distribution.ext_modules,
            include_path=["ext"],
            build_dir=self.build_temp,
            nthreads=JOBS,
            emit_linenums=DEBUG or bool(SANITIZE),
            compiler_directives={
                "language_level": 3,
                "boundscheck": DEBUG,
                "wraparound": False,
                "cdivision": True,
                "embedsignature": True,
            },
        )
        super().finalize_options()
        self.parallel = self.parallel or JOBS

    def run(self):
        if self.inplace:
            self.force = self.force or not self.is_in_place()
            generate_python(ROOT / "src")
        super().run()
        if self.inplace:
            (ROOT / "build" / "in-place").write_text(FLAVOUR)

    def is_in_place(self):
        """Tell whether what lies in src/ is of this build."""
        mark = ROOT / "build" / "in-place"
        return mark.exists() and mark.read_text() == FLAVOUR


class BuildPython(build_py):
    """Generate the Python that is not in src/ next to the copied sources."""

    def run(self):
        for stale in Path(self.build_lib).rglob("*.py"):  # src/ may no longer have it
            stale.unlink()
        super().run()
        generate_python(ROOT / "src" if self.editable_mode else Path(self.build_lib))


class SourceArchive(sdist):
    """Take along what the build and the tests need besides the Python sources."""

    def run(self):
        write_commit(ROOT / "src")
        super().run()

    def make_distribution(self):
        patterns = ("ext/**/*", "protos/**/*", "tests/**/*", "benchmarks/*.py", ".github/*.md")
        for pattern in patterns:
            files = (path for path in ROOT.glob(pattern) if path.is_file())
            self.filelist.extend(
                str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts
            )
        super().make_distribution()


setup(
    ext_modules=EXTENSIONS,
    cmdclass={"build_ext": BuildNative, "build_py": BuildPython, "sdist": SourceArchive},
    options={"build": {"build_base": BUILD}},
)
