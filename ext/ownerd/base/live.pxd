"""How many objects of each kind are alive: counted in a debug build, nothing at all in others.

A C++ class has a field of its kind's type, which counts with the object; what is made by malloc is
counted by `live_count` where it is made and freed. `base.testing` reads the counts, and tests hold
them to what they were before.
"""

cdef extern from *:
    """
    enum ownerd_live_kind {
        OWNERD_LIVE_ACCESS_TABLE, OWNERD_LIVE_AIO_CALL, OWNERD_LIVE_CAMPAIGN, OWNERD_LIVE_CLOCK,
        OWNERD_LIVE_COMMAND, OWNERD_LIVE_CONNECTION, OWNERD_LIVE_ENGINE, OWNERD_LIVE_HANDLED_CALL,
        OWNERD_LIVE_LIST, OWNERD_LIVE_LOOP, OWNERD_LIVE_MEMTABLE, OWNERD_LIVE_READ_VIEW,
        OWNERD_LIVE_SNAPSHOT, OWNERD_LIVE_STORE, OWNERD_LIVE_STREAM, OWNERD_LIVE_KINDS
    };
    // In the order of the kinds.
    static const char *const OWNERD_LIVE_NAMES[] = {
        "AccessTable", "AioCall", "Campaign", "Clock", "Command", "Connection", "Engine",
        "HandledCall", "List", "Loop", "Memtable", "ReadView", "Snapshot", "Store", "Stream",
    };
    #ifdef OWNERD_DEBUG
    #include <atomic>
    // One for all modules: the loader unites what is inline and visible (STB_GNU_UNIQUE).
    __attribute__((visibility("default")))
    inline std::atomic<long> ownerd_live_counts[OWNERD_LIVE_KINDS];

    #define OWNERD_LIVE_COUNTED 1
    #define live_count(kind, change) \\
        ((void) ownerd_live_counts[kind].fetch_add(change, std::memory_order_relaxed))
    #define ownerd_live_total(kind) ownerd_live_counts[kind].load()

    template <int Kind> struct ownerd_live {
        ownerd_live() { live_count(Kind, 1); }
        ownerd_live(const ownerd_live &) { live_count(Kind, 1); }
        ownerd_live &operator=(const ownerd_live &) = default;
        ~ownerd_live() { live_count(Kind, -1); }
    };
    #else
    #define OWNERD_LIVE_COUNTED 0
    #define live_count(kind, change) ((void) (kind))
    #define ownerd_live_total(kind) ((void) (kind), 0L)

    template <int Kind> struct ownerd_live {};
    #endif
    """
    enum LiveKind "ownerd_live_kind":
        LIVE_AIO_CALL "OWNERD_LIVE_AIO_CALL"
        LIVE_CONNECTION "OWNERD_LIVE_CONNECTION"
        LIVE_STREAM "OWNERD_LIVE_STREAM"
        LIVE_KINDS "OWNERD_LIVE_KINDS"
    const char *const *LIVE_NAMES "OWNERD_LIVE_NAMES"
    const bint LIVE_COUNTED "OWNERD_LIVE_COUNTED"
    # Count objects of a kind that were made (1) or freed (-1).
    void live_count(LiveKind kind, int change) noexcept nogil
    long live_total "ownerd_live_total"(int kind) noexcept nogil

    cdef cppclass LiveAccessTable "ownerd_live<OWNERD_LIVE_ACCESS_TABLE>":
        LiveAccessTable()
    cdef cppclass LiveCampaign "ownerd_live<OWNERD_LIVE_CAMPAIGN>":
        LiveCampaign()
    cdef cppclass LiveClock "ownerd_live<OWNERD_LIVE_CLOCK>":
        LiveClock()
    cdef cppclass LiveCommand "ownerd_live<OWNERD_LIVE_COMMAND>":
        LiveCommand()
    cdef cppclass LiveEngine "ownerd_live<OWNERD_LIVE_ENGINE>":
        LiveEngine()
    cdef cppclass LiveHandledCall "ownerd_live<OWNERD_LIVE_HANDLED_CALL>":
        LiveHandledCall()
    cdef cppclass LiveList "ownerd_live<OWNERD_LIVE_LIST>":
        LiveList()
    cdef cppclass LiveLoop "ownerd_live<OWNERD_LIVE_LOOP>":
        LiveLoop()
    cdef cppclass LiveMemtable "ownerd_live<OWNERD_LIVE_MEMTABLE>":
        LiveMemtable()
    cdef cppclass LiveReadView "ownerd_live<OWNERD_LIVE_READ_VIEW>":
        LiveReadView()
    cdef cppclass LiveSnapshot "ownerd_live<OWNERD_LIVE_SNAPSHOT>":
        LiveSnapshot()
    cdef cppclass LiveStore "ownerd_live<OWNERD_LIVE_STORE>":
        LiveStore()
