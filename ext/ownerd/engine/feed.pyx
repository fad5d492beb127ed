"""Feeds: what changed, for one reader each, as messages that go out as they are (R30).

A feed follows the log (`storage/changes`) behind what was answered, and keeps nothing that it has
read: the log's files are its buffer, whatever the reader's pace. Who may see what is asked once for
each list and campaign. Reading costs the writer nothing: it wakes who waits, if anybody does, once
for all that comes until they have read.

One thread at a time may use a feed, any thread; without the GIL while it reads. It decides neither
when to read nor when a reader is too slow: the server does.
"""

from libc.stdint cimport UINT64_MAX, int64_t

from ownerd.api.feed_codec cimport (
    Named, feed_duration, feed_finish, feed_list_created, feed_list_deleted, feed_policy,
    feed_progress, feed_record, feed_rejected, feed_released, feed_renamed,
    feed_reservations_ended, feed_time_set_back, feed_transferred,
)
from ownerd.base.bytes cimport empty_slice, slice_of, text_slice
from ownerd.base.clock cimport clock_now
from ownerd.base.lmdb cimport MDB_SUCCESS
from ownerd.engine.core cimport EngineCore
from ownerd.rules.ownership cimport (
    ALL_CAMPAIGNS, NOBODY, NO_DIALER, OWNED, Hold, reservation_given_away, rules_holder,
)
from ownerd.storage.changes cimport (
    CHANGE_DURATION, CHANGE_LIST_CREATED, CHANGE_LIST_DELETED, CHANGE_POLICY, CHANGE_RECORD,
    CHANGE_REJECTED, CHANGE_RELEASED, CHANGE_RENAMED, CHANGE_RESERVATIONS_ENDED,
    CHANGE_TRANSFERRED, Change, changes_begin, changes_next,
)
from ownerd.storage.give_backs cimport EVERY_LIST
from ownerd.storage.known_names cimport (
    KnownCampaign, named_campaign, named_dialer, names_of_list,
)
from ownerd.storage.log_reader cimport (
    READ_AHEAD, READ_DAMAGED, READ_ENTRY, READ_FAILED, READ_TAIL, READ_TRIMMED, ReadStatus,
)
from ownerd.storage.store cimport store_now, store_revision

from ownerd.engine.engine import Reading
from ownerd.storage.directory import StoreError

cdef enum:
    MESSAGE_BYTES = 256 * 1024        # of one message, about; a revision may have several
    REVISIONS_PER_READ = 4_096        # that are looked at before others have their turn


# --- who is named ---------------------------------------------------------------------------------

cdef Slice any_campaign() noexcept nogil:
    return slice_of("", 0)


cdef bint sees(FeedCore *core, Followed *list, uint32_t campaign) noexcept nogil:
    """Tell whether the reader may see a campaign in a list; ALL_CAMPAIGNS: any of it."""
    cdef const KnownCampaign *known
    cdef bint may
    if campaign == ALL_CAMPAIGNS:
        return True
    if list.sees.count(campaign) != 0:
        return list.sees[campaign]
    known = named_campaign(&core.changes.names, campaign)
    may = known != NULL and core.may_see(
        core.who, text_slice(list.list_id), text_slice(known.id)
    )
    list.sees[campaign] = may
    return may


cdef Slice id_of(FeedCore *core, uint32_t campaign) noexcept nogil:
    """Return a campaign's id; of every campaign none."""
    cdef const KnownCampaign *known = named_campaign(&core.changes.names, campaign)
    return any_campaign() if known == NULL else text_slice(known.id)


cdef Slice name_of(FeedCore *core, uint32_t campaign) noexcept nogil:
    cdef const KnownCampaign *known = named_campaign(&core.changes.names, campaign)
    return any_campaign() if known == NULL else text_slice(known.name)


cdef void name_holder(
    FeedCore *core, Followed *list, const Hold *hold, bint with_reservations, Named *named
) noexcept nogil:
    """Say who holds a record as of the revision; nobody, if the reader may not see who."""
    named.holder = rules_holder(hold, core.changes.time_ns)
    named.dialer_id = empty_slice()
    if named.holder.kind == NOBODY or not sees(core, list, hold.campaign) \
            or not (with_reservations or named.holder.kind == OWNED):
        named.holder.kind = NOBODY
        return
    named.id, named.name = id_of(core, hold.campaign), name_of(core, hold.campaign)
    if not with_reservations:
        named.holder.reserved_until_ns = named.holder.last_attempt_ns = 0
    elif named.holder.dialer != NO_DIALER and not reservation_given_away(hold):
        named.dialer_id = named_dialer(&core.changes.names, named.holder.dialer)


# --- which lists ----------------------------------------------------------------------------------

cdef vector[Followed] *followed_as(FeedCore *core, uint32_t number) noexcept nogil:
    """Return a list under each name by which the reader follows it."""
    cdef const vector[string] *names
    cdef vector[Followed] *found
    cdef Followed each
    cdef size_t i
    if core.names_changed != core.changes.names.list_changes:
        core.names_changed = core.changes.names.list_changes
        core.followed.clear()
    if core.followed.count(number) != 0:
        return &core.followed[number]
    found = &core.followed[number]
    names = names_of_list(&core.changes.names, number)
    if names == NULL:
        return found
    for i in range(names.size()):
        if core.wanted.size() != 0 and core.wanted.count(names[0][i]) == 0:
            continue
        if core.may_see(core.who, text_slice(names[0][i]), empty_slice()):
            each.list_id = names[0][i]
            found.push_back(each)
    return found


# --- one change -----------------------------------------------------------------------------------

cdef void show_record(FeedCore *core, Followed *list, const Change *change) noexcept nogil:
    """Show who holds a record; not where it is none of the reader's business, before and after."""
    cdef Named named
    cdef uint32_t before = change.campaign
    name_holder(core, list, &change.hold, core.with_reservations, &named)
    if before == ALL_CAMPAIGNS and named.holder.kind == NOBODY:
        before = change.hold.campaign  # its own report ended what it had
    if named.holder.kind == NOBODY and not sees(core, list, before):
        return
    feed_record(
        &core.bytes, text_slice(list.list_id), text_slice(change.id), &named,
        core.with_reservations and named.holder.kind != NOBODY
        and named.holder.reserved_until_ns != 0 and reservation_given_away(&change.hold),
    )


cdef void show_rejected(FeedCore *core, Followed *list, const Change *change) noexcept nogil:
    """Show an attempt that was rejected; of two campaigns only whom the reader may see."""
    cdef Named holder, called
    cdef uint32_t number
    name_holder(core, list, &change.hold, True, &holder)
    called.id, called.name = any_campaign(), any_campaign()
    if core.may_see(core.who, text_slice(list.list_id), text_slice(change.text)):
        called.id = called.name = text_slice(change.text)
        for number in range(<uint32_t> core.changes.names.campaigns.size()):
            if core.changes.names.campaigns[number].id == change.text:
                called.name = text_slice(core.changes.names.campaigns[number].name)
    if holder.holder.kind != NOBODY or called.id.size != 0:
        feed_rejected(
            &core.bytes, text_slice(list.list_id), text_slice(change.id), &called, &holder,
            change.time_ns, text_slice(change.list_id),
        )


cdef void show_transferred(FeedCore *core, Followed *list, const Change *change) noexcept nogil:
    cdef bint gives = sees(core, list, change.campaign)
    cdef bint takes = sees(core, list, change.to_campaign)
    if gives or takes:
        feed_transferred(
            &core.bytes, text_slice(list.list_id), change.time_ns,
            id_of(core, change.campaign) if gives else any_campaign(),
            id_of(core, change.to_campaign) if takes else any_campaign(),
            name_of(core, change.to_campaign) if takes else any_campaign(),
        )


cdef void show(FeedCore *core, Followed *list, const Change *change) noexcept nogil:
    """Show a change of a list under one of its names."""
    cdef Slice list_id = text_slice(list.list_id)
    cdef string *message = &core.bytes
    if change.kind == CHANGE_RECORD:
        show_record(core, list, change)
    elif change.kind == CHANGE_REJECTED:
        show_rejected(core, list, change)
    elif change.kind == CHANGE_TRANSFERRED:
        show_transferred(core, list, change)
    elif change.kind == CHANGE_POLICY:
        feed_policy(message, list_id, &change.policy)
    elif change.kind == CHANGE_DURATION:
        feed_duration(message, list_id, change.time_ns, change.length_ns)
    elif change.kind == CHANGE_LIST_CREATED:
        if change.list_id == list.list_id:
            feed_list_created(
                message, list_id, &change.policy,
                names_of_list(&core.changes.names, change.list),
            )
    elif change.kind == CHANGE_LIST_DELETED:
        if change.list_id == list.list_id:
            feed_list_deleted(message, list_id)
    elif not sees(core, list, change.campaign):
        return
    elif change.kind == CHANGE_RELEASED:
        feed_released(
            message, list_id, change.time_ns, id_of(core, change.campaign),
            change.include_reservations,
        )
    elif change.kind == CHANGE_RESERVATIONS_ENDED:
        feed_reservations_ended(
            message, list_id, change.time_ns, id_of(core, change.campaign),
            text_slice(change.text),
        )
    else:
        feed_time_set_back(message, list_id, change.time_ns, change.length_ns)


cdef void show_everywhere(FeedCore *core, const Change *change) noexcept nogil:
    """Show what is about no list in particular."""
    cdef Slice id = id_of(core, change.campaign)
    if not core.may_see(core.who, empty_slice(), id):
        return
    if change.kind == CHANGE_RENAMED:
        feed_renamed(&core.bytes, id, name_of(core, change.campaign))
    else:
        feed_reservations_ended(
            &core.bytes, any_campaign(), change.time_ns, id, text_slice(change.text)
        )


# --- messages -------------------------------------------------------------------------------------

cdef void finish(FeedCore *core, bint complete, int64_t time_ns) noexcept nogil:
    """End a message; of a revision without events there is none."""
    feed_finish(
        &core.bytes, core.changes.revision, complete, text_slice(core.incarnation_id), time_ns
    )
    core.ends.push_back(core.bytes.size())


cdef void show_revision(FeedCore *core) noexcept nogil:
    """Append what the reader is to see of the revision that was read."""
    cdef size_t i, j
    cdef size_t begin = core.bytes.size(), first = core.ends.size()
    cdef const Change *change
    cdef vector[Followed] *lists
    for i in range(core.changes.all.size()):
        change = &core.changes.all[i]
        if core.bytes.size() - begin > MESSAGE_BYTES:
            finish(core, False, core.changes.time_ns)
            begin = core.bytes.size()
        if change.list == EVERY_LIST:
            show_everywhere(core, change)
            continue
        lists = followed_as(core, change.list)
        for j in range(lists.size()):
            show(core, &lists[0][j], change)
    if core.bytes.size() > begin or core.ends.size() > first:
        finish(core, True, core.changes.time_ns)


cdef ReadStatus read_on(FeedCore *core, size_t most_bytes, uint64_t newest) noexcept nogil:
    """Read until there is enough for the reader, or no more; nothing after a revision."""
    cdef ReadStatus status = READ_ENTRY
    cdef int revisions = 0
    core.bytes.clear()
    core.ends.clear()
    while status == READ_ENTRY and core.bytes.size() < most_bytes \
            and revisions < REVISIONS_PER_READ:
        # What is on disk may not be answered yet.
        status = changes_next(&core.changes, min(newest, store_revision(core.changes.store)))
        if status == READ_ENTRY:
            show_revision(core)
            revisions += 1
    return status


# --- for Python -----------------------------------------------------------------------------------

cdef feed_limit(Feed feed, MaySee may_see, const void *who, object owner):
    feed.core.may_see, feed.core.who, feed.kept = may_see, who, owner


_OUTCOMES = {
    READ_TRIMMED: "trimmed", READ_AHEAD: "ahead",
}


cdef _raise_damaged(ReadStatus status):
    if status == READ_DAMAGED or status == READ_FAILED:
        raise StoreError("the log cannot be read where it should go on: see 'ownerd verify'")


cdef class Feed:
    """Changes after a revision, as messages of Watch; see `Identity.follow`, which makes one.

    Args:
        engine: whose changes.
        list_ids: of which lists; none: of every list that may be seen.
        with_reservations: show dial reservations too.
    """

    def __cinit__(self, Engine engine not None, list_ids, bint with_reservations):
        self.core = new FeedCore()
        self.engine = engine
        self.core.may_see = NULL
        self.core.with_reservations = with_reservations
        self.core.names_changed = 0
        for list_id in list_ids:
            text = list_id.encode()
            self.core.wanted[string(<const char *> text, len(text))] = True
        text = f"{engine.incarnation:016x}".encode()
        self.core.incarnation_id.assign(<const char *> text, len(text))

    def __dealloc__(self):
        del self.core

    def begin(self, uint64_t after_revision):
        """Begin behind a revision; None, or why that cannot be: `trimmed` or `ahead`.

        Blocking: reads the log from there to now for names.
        """
        cdef ReadStatus status
        cdef int code
        with Reading(self.engine):
            with nogil:
                status = changes_begin(
                    &self.core.changes, self.engine.core.store, after_revision,
                    self.core.with_reservations, &code,
                )
        if code != MDB_SUCCESS:
            raise StoreError("too many reads are in progress; try again")
        _raise_damaged(status)
        return _OUTCOMES.get(status)

    def knows(self, str list_id):
        """Tell whether there is such a list, or was since the revision that it began behind."""
        text = list_id.encode()
        return self.core.changes.names.listed.count(
            string(<const char *> text, len(text))
        ) != 0

    def read(self, size_t most_bytes, *, newest=None):
        """Return the next messages, of about so many bytes together, and whether there may be more.

        Up to the revision `newest`; None: up to the one that was answered last. None in the
        messages' place: what comes next is no longer kept. Blocking, for a moment.
        """
        cdef uint64_t last = UINT64_MAX if newest is None else newest
        cdef ReadStatus status
        cdef size_t i, begin = 0
        if self.core.may_see == NULL:
            raise ValueError("nobody is told what may be seen")
        with Reading(self.engine):
            with nogil:
                status = read_on(self.core, most_bytes, last)
        _raise_damaged(status)
        if status == READ_TRIMMED and self.core.ends.empty():
            return None, False
        messages = []
        for i in range(self.core.ends.size()):
            messages.append(self.core.bytes.data()[begin:self.core.ends[i]])
            begin = self.core.ends[i]
        return messages, status != READ_TAIL

    def progress(self):
        """Return a message that says how far it has read."""
        cdef string message
        cdef EngineCore *engine = self.engine.core
        with Reading(self.engine):
            feed_progress(&message)
            feed_finish(
                &message, self.core.changes.revision, True, text_slice(self.core.incarnation_id),
                store_now(engine.store, clock_now(engine.clock)),
            )
        return message.data()[:message.size()]

    @property
    def revision(self):
        """Up to which revision it has read."""
        return self.core.changes.revision
