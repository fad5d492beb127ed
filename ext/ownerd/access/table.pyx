"""Who may do what: principals with their rights, and the table by which callers are told apart.

A table is built whole, published, and never changed: those who read it hold it by a shared_ptr and
need no lock, on the native listener's threads as in Python. A change of principals publishes the
next table; `number` tells whoever keeps one that it is old. Tokens are looked up by their SHA-256,
so how long a look-up takes says nothing about how much of a token is right.

Rate limits are kept beside the tables, so that a change of rights gives nobody a new budget.

Any thread may call what is in the .pxd. It knows no store and no gRPC: the server keeps principals
and says which right an rpc needs; only for the calls of DialService, and for the events of a feed,
that is decided here.
"""

from cython.operator cimport dereference
from libc.stdint cimport int64_t, uint8_t
from libc.stdio cimport snprintf
from libc.string cimport strlen
from libcpp.memory cimport shared_ptr

from ownerd.access.glob cimport globs_cover
from ownerd.access.refusals cimport refusals_add, refusals_take
from ownerd.api.dial_call cimport CALL_GET_HOLDER, CALL_GIVE_BACK, DialCall, NameFilter
from ownerd.api.reasons cimport (
    RATE_LIMITED, RIGHT_LACKING, Value, numeral, printable, quoted, refuse_with, words,
)
from ownerd.api.task cimport StatusCode
from ownerd.base.assertions cimport assert_that
from ownerd.base.bytes cimport Slice, empty_slice, slice_of, text_slice
from ownerd.base.clock cimport clock_elapsed
from ownerd.base.rate_limiter cimport rate_after, rate_wait_ns
from ownerd.base.units cimport NS_PER_MS, NS_PER_S
from ownerd.engine.engine cimport Engine
from ownerd.engine.feed cimport Feed, feed_limit
from ownerd.rules.ownership cimport NEVER_NS

from urllib.parse import unquote

cdef enum:
    WHERE_BYTES = 192                 # of a refusal: two ids, as far as they are shown

cdef const char *ANYBODY = "anonymous"

RIGHTS = {
    "dial": RIGHT_DIAL, "view": RIGHT_VIEW, "configure": RIGHT_CONFIGURE,
    "ownership_control": RIGHT_OWNERSHIP_CONTROL, "admin": RIGHT_ADMIN,
}
UNAUTHENTICATED, PERMISSION = StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED


# --- looking up -----------------------------------------------------------------------------------

cdef shared_ptr[AccessTable] access_table(AccessCore *core) noexcept nogil:
    """Return the table in force."""
    cdef shared_ptr[AccessTable] table
    core.guard.lock()
    table = core.table
    core.guard.unlock()
    return table


cdef const Principal *access_by_token(
    const AccessTable *table, const char *digest, int64_t now_ns, int64_t *until_ns
) noexcept nogil:
    """Return whose token has this SHA-256 and is valid at the server time, and how long it is.

    NULL: nobody's.
    """
    cdef unordered_map[string, TokenEntry].iterator found
    found = (<AccessTable *> table).tokens.find(string(digest, DIGEST_BYTES))
    if found == (<AccessTable *> table).tokens.end() \
            or now_ns >= dereference(found).second.until_ns:
        return NULL
    assert_that(
        dereference(found).second.principal < table.principals.size(),
        "a token is that of a principal of its table",
    )
    until_ns[0] = dereference(found).second.until_ns
    return &table.principals[dereference(found).second.principal]


cdef const Principal *access_by_name(const AccessTable *table, Slice name) noexcept nogil:
    """Return whom a name in a certificate stands for; NULL: nobody."""
    cdef unordered_map[string, size_t].iterator found
    found = (<AccessTable *> table).names.find(string(name.data, name.size))
    if found == (<AccessTable *> table).names.end():
        return NULL
    assert_that(
        dereference(found).second < table.principals.size(),
        "a name is that of a principal of its table",
    )
    return &table.principals[dereference(found).second]


cdef bint access_allows(
    const Principal *principal, uint8_t right, Slice list_id, Slice campaign_id
) noexcept nogil:
    """Tell whether one grant gives the right on the list and the campaign.

    A slice without data asks nothing, an empty one with data asks for every list or campaign.
    """
    cdef const Grant *grant
    cdef size_t i
    for i in range(principal.grants.size()):
        grant = &principal.grants[i]
        if grant.right == right and globs_cover(&grant.lists, list_id) \
                and globs_cover(&grant.campaigns, campaign_id):
            return True
    return False


# --- rate limits ----------------------------------------------------------------------------------

cdef int64_t spend(
    atomic[int64_t] *budget_ns, int64_t price_ns, int64_t count, int64_t now_ns
) noexcept nogil:
    """Pay for `count` uses; the nanoseconds to wait instead, or 0 once it is paid.

    A second's worth may be used at once. While any of it is left the whole count is let in, and
    what it costs beyond is a debt.
    """
    cdef int64_t wait_ns, before = budget_ns.load()
    assert_that(price_ns >= 0 and count >= 0, "a use is no income")
    if price_ns == 0:
        return 0
    while True:
        wait_ns = rate_wait_ns(before, now_ns, price_ns, NS_PER_S)
        if wait_ns != 0 or budget_ns.compare_exchange_weak(
            before, rate_after(before, now_ns, price_ns * count)
        ):
            return wait_ns


cdef int64_t pay(const Principal *principal, int64_t record_count) noexcept nogil:
    """Take a call with its records out of the principal's budget; nanoseconds to wait, or 0."""
    cdef int64_t now_ns, wait_ns
    if principal.call_price_ns == 0 and principal.record_price_ns == 0:
        return 0
    now_ns = clock_elapsed()
    wait_ns = spend(&principal.budget.get().calls_ns, principal.call_price_ns, 1, now_ns)
    if wait_ns != 0:
        return wait_ns
    wait_ns = spend(
        &principal.budget.get().records_ns, principal.record_price_ns, record_count, now_ns
    )
    if wait_ns != 0 and principal.call_price_ns != 0:
        # The call does not take place.
        principal.budget.get().calls_ns.fetch_sub(principal.call_price_ns)
    return wait_ns


# --- dial calls -----------------------------------------------------------------------------------

cdef bint may_dial(const Principal *principal, DialCall *call) noexcept nogil:
    """Tell whether the principal may make the call; a look at a holder is for viewers too.

    Viewers who may not see every campaign are shown as little as those whom holders are hidden
    from: whose hold it is comes out only later.
    """
    if call.call_kind == CALL_GIVE_BACK and call.list_id.size == 0:
        return may_give_back(principal, call)
    if call.call_kind != CALL_GET_HOLDER:
        return access_allows(principal, RIGHT_DIAL, call.list_id, call.campaign_id)
    if access_allows(principal, RIGHT_DIAL, call.list_id, empty_slice()):
        if call.hide_holders:
            own_campaigns(principal, call)
        return True
    call.hide_holders |= not access_allows(principal, RIGHT_VIEW, call.list_id, slice_of("", 0))
    return access_allows(principal, RIGHT_VIEW, call.list_id, empty_slice())


cdef bint may_give_back(const Principal *principal, DialCall *call) noexcept nogil:
    """Tell whether the principal may dial for the campaign in any list; in which, the call is told.
    """
    cdef size_t i
    cdef const Grant *grant
    if access_allows(principal, RIGHT_DIAL, slice_of("", 0), call.campaign_id):
        return True
    for i in range(principal.grants.size()):
        grant = &principal.grants[i]
        if grant.right == RIGHT_DIAL and globs_cover(&grant.campaigns, call.campaign_id):
            add_patterns(call, &grant.lists)
    return call.filter != NULL


cdef void own_campaigns(const Principal *principal, DialCall *call) noexcept nogil:
    """Tell the call which campaigns are the principal's own: those that it may dial for."""
    cdef size_t i
    cdef const Grant *grant
    for i in range(principal.grants.size()):
        grant = &principal.grants[i]
        if grant.right == RIGHT_DIAL and globs_cover(&grant.lists, call.list_id):
            add_patterns(call, &grant.campaigns)


cdef void add_patterns(DialCall *call, const vector[string] *patterns) noexcept nogil:
    """Add what a grant is limited to; no pattern stands for every name."""
    cdef size_t i
    if call.filter == NULL:
        call.filter = new NameFilter()
        call.filter.matches = globs_cover
    if patterns.empty():
        call.filter.patterns.push_back(string("*", 1))
    for i in range(patterns.size()):
        call.filter.patterns.push_back(patterns[0][i])


cdef bint access_admits(const Principal *principal, DialCall *call) noexcept nogil:
    """Tell whether a decoded call may go on to the engine; False with code and message set if not.

    What the principal may not be shown is decided on the way: `call.hide_holders`.
    """
    cdef int64_t wait_ns = pay(principal, call.item_count)
    cdef Value values[2]
    assert_that(wait_ns >= 0, "nobody waits for the past")
    if wait_ns == 0:
        call.hide_holders = principal.hide_holders
        if may_dial(principal, call):
            return True
        refuse_call(principal, call)
        return False
    values[0], values[1] = quoted(text_slice(principal.id)), numeral(wait_ms(wait_ns))
    refuse_with(&call.task, RATE_LIMITED, values)
    call.task.retry_ms = wait_ms(wait_ns)
    return False


cdef inline int64_t wait_ms(int64_t wait_ns) noexcept nogil:
    return (wait_ns + NS_PER_MS - 1) // NS_PER_MS


cdef void refuse_call(const Principal *principal, DialCall *call) noexcept nogil:
    cdef char where[WHERE_BYTES]
    cdef Value values[3]
    cdef int size = snprintf(
        where, sizeof(where), " on list \"%.*s\"",
        printable(call.list_id.data, call.list_id.size), call.list_id.data,
    )
    if call.list_id.size == 0:
        size = snprintf(where, sizeof(where), " on any list")
    values[0], values[1] = quoted(text_slice(principal.id)), words("dial or view")
    if call.call_kind != CALL_GET_HOLDER:
        values[1] = words("dial")
        snprintf(
            where + size, sizeof(where) - size, " and campaign \"%.*s\"",
            printable(call.campaign_id.data, call.campaign_id.size), call.campaign_id.data,
        )
    values[2] = words(where)
    refuse_with(&call.task, RIGHT_LACKING, values)


# --- building a table -----------------------------------------------------------------------------

cdef assign_text(string *target, str text):
    encoded = text.encode()
    target.assign(<const char *> encoded, len(encoded))


cdef add_grant(Principal *principal, int right, lists, campaigns):
    cdef Grant grant
    cdef string pattern
    grant.right = <uint8_t> right
    for text in lists:
        assign_text(&pattern, text)
        grant.lists.push_back(pattern)
    for text in campaigns:
        assign_text(&pattern, text)
        grant.campaigns.push_back(pattern)
    principal.grants.push_back(grant)


cdef shared_ptr[Budget] budget_of(AccessCore *core, const string &principal_id):
    """Return the principal's budget: the one it had, or a full one."""
    cdef Budget *budget
    cdef shared_ptr[Budget] found
    core.guard.lock()
    if core.budgets.count(principal_id) != 0:
        found = core.budgets[principal_id]
    core.guard.unlock()
    if found.get() == NULL:
        budget = new Budget()
        budget.calls_ns.store(0)
        budget.records_ns.store(0)
        found = shared_ptr[Budget](budget)
    return found


cdef add_principal(AccessCore *core, AccessTable *table, known):
    """Add one principal; see `Access.replace`."""
    cdef Principal principal
    cdef TokenEntry entry
    cdef string name
    assign_text(&principal.id, known.principal_id)
    principal.hide_holders = known.hide_holders
    principal.call_price_ns = NS_PER_S // known.calls_per_s if known.calls_per_s else 0
    principal.record_price_ns = NS_PER_S // known.records_per_s if known.records_per_s else 0
    principal.budget = budget_of(core, principal.id)
    for right, lists, campaigns in known.grants:
        add_grant(&principal, right, lists, campaigns)
    entry.principal = table.principals.size()
    for digest, until_ns in known.tokens:
        if len(digest) != DIGEST_BYTES:
            raise ValueError("a digest is 32 bytes")
        entry.until_ns = NEVER_NS if until_ns is None else <int64_t> until_ns
        table.tokens[string(<const char *> digest, DIGEST_BYTES)] = entry
    for text in known.names:
        assign_text(&name, text)
        table.names[name] = table.principals.size()
    table.principals.push_back(principal)


cdef open_table(AccessCore *core, AccessTable *table):
    """Make a table by which everybody is one principal with every right."""
    cdef Principal principal
    table.open = True
    principal.id = string(ANYBODY, strlen(ANYBODY))
    principal.hide_holders = False
    principal.call_price_ns = principal.record_price_ns = 0
    principal.budget = budget_of(core, principal.id)
    for right in RIGHTS.values():
        add_grant(&principal, right, (), ())
    table.principals.push_back(principal)


cdef Slice slice_from(text):
    """Return a slice of an encoded text, which must outlive it; None asks nothing."""
    return empty_slice() if text is None else slice_of(<const char *> <bytes> text, len(text))


cdef encoded(text):
    return None if text is None else text.encode()


cdef class Access:
    """The principals of a server, as its listeners see them.

    Args:
        open: nobody is asked who they are; everybody is `anonymous`, with every right.
    """

    def __cinit__(self, *, bint open=False):
        cdef AccessTable *table = new AccessTable()
        self.core = new AccessCore()
        self.core.refusals.uncounted = 0
        table.open = False
        table.number = 1
        if open:
            open_table(self.core, table)
        self.core.table = shared_ptr[AccessTable](table)
        self.core.number.store(table.number)

    def __dealloc__(self):
        del self.core

    def replace(self, principals):
        """Publish a new table, in force for every call that begins after this returns.

        Each principal has `principal_id`, `hide_holders`, `calls_per_s`, `records_per_s` (0: no
        limit), `grants` as (right, list patterns, campaign patterns), `tokens` as (SHA-256, end in
        server time or None) and `names` of certificates. Not for an open one.
        """
        cdef AccessTable *table = new AccessTable()
        cdef shared_ptr[AccessTable] owner = shared_ptr[AccessTable](table)
        cdef shared_ptr[AccessTable] _former
        cdef size_t i
        table.open = False
        for known in principals:
            add_principal(self.core, table, known)
        assert_that(not self.core.table.get().open, "an open server asks nobody who they are")
        self.core.guard.lock()
        table.number = self.core.number.load() + 1
        assert_that(table.number > self.core.table.get().number, "tables follow one another")
        _former = self.core.table     # freed when the lock is let go of
        self.core.table = owner
        self.core.budgets.clear()
        for i in range(table.principals.size()):
            self.core.budgets[table.principals[i].id] = table.principals[i].budget
        self.core.number.store(table.number)
        self.core.guard.unlock()

    @property
    def number(self):
        """Grows with each table that is published."""
        return self.core.number.load()

    @property
    def is_open(self):
        """Whether nobody is asked who they are."""
        return bool(access_table(self.core).get().open)

    def anybody(self):
        """Return the Identity that everybody has on an open server, else None."""
        cdef shared_ptr[AccessTable] table = access_table(self.core)
        return identity(table, &table.get().principals[0]) if table.get().open else None

    def by_token(self, bytes digest, int64_t now_ns):
        """Return the Identity whose token has this SHA-256 and is valid at that time, or None."""
        cdef shared_ptr[AccessTable] table = access_table(self.core)
        cdef int64_t until_ns
        if len(digest) != DIGEST_BYTES:
            raise ValueError("a digest is 32 bytes")
        return identity(
            table, access_by_token(table.get(), <const char *> digest, now_ns, &until_ns)
        )

    def by_name(self, str name):
        """Return the Identity that a certificate's name stands for, or None."""
        cdef shared_ptr[AccessTable] table = access_table(self.core)
        text = name.encode()
        return identity(table, access_by_name(table.get(), slice_from(text)))

    def by_id(self, str principal_id):
        """Return the Identity with this id, or None."""
        cdef shared_ptr[AccessTable] table = access_table(self.core)
        cdef size_t i
        cdef string wanted
        assign_text(&wanted, principal_id)
        for i in range(table.get().principals.size()):
            if table.get().principals[i].id == wanted:
                return identity(table, &table.get().principals[i])
        return None

    def add_refusal(self, int code, str principal_id, str peer, str action):
        """Count a caller that was refused with UNAUTHENTICATED or PERMISSION; `peer`: no port."""
        who, where, what = principal_id.encode(), peer.encode(), action.encode()
        refusals_add(
            &self.core.refusals, code, slice_from(who), slice_from(where),
            slice_from(what), empty_slice(), empty_slice(),
        )

    def take_refusals(self):
        """Return and forget who was refused: a list, and how many more there were.

        Each of the list is (code, principal_id, peer, action, list_id, campaign_id, count); list
        and campaign are those of the first, or "".
        """
        return refusals_take(&self.core.refusals)


cdef bint may_view(const void *who, Slice list_id, Slice campaign_id) noexcept nogil:
    return access_allows(<const Principal *> who, RIGHT_VIEW, list_id, campaign_id)


cdef bint same_texts(const vector[string] *texts, const vector[string] *others) noexcept nogil:
    cdef size_t i
    if texts.size() != others.size():
        return False
    for i in range(texts.size()):
        if not (texts[0][i] == others[0][i]):
            return False
    return True


cdef bint same_grants(
    const Principal *principal, const Principal *other, uint8_t right
) noexcept nogil:
    """Tell whether two have the same grants of a right, in the same order."""
    cdef size_t i = 0, j = 0
    while True:
        while i < principal.grants.size() and principal.grants[i].right != right:
            i += 1
        while j < other.grants.size() and other.grants[j].right != right:
            j += 1
        if i == principal.grants.size() or j == other.grants.size():
            return i == principal.grants.size() and j == other.grants.size()
        if not same_texts(&principal.grants[i].lists, &other.grants[j].lists) \
                or not same_texts(&principal.grants[i].campaigns, &other.grants[j].campaigns):
            return False
        i += 1
        j += 1


cdef shown(const string *text):
    return text.data()[:text.size()].decode(errors="replace")


cdef identity(shared_ptr[AccessTable] table, const Principal *principal):
    cdef Identity found
    if principal == NULL:
        return None
    found = Identity.__new__(Identity)
    found.table = table
    found.principal = principal
    return found


cdef class Identity:
    """A caller that is known, with the rights it had when it was looked up."""

    @property
    def hide_holders(self):
        """Whether it is not to be shown whose a hold is."""
        return bool(self.principal.hide_holders)

    @property
    def principal_id(self):
        """Who it is, for the audit."""
        return shown(&self.principal.id)

    def allows(self, int right, list_id=None, campaign_id=None):
        """Tell whether one grant gives the right; None asks nothing, "" asks for every one."""
        lists, campaigns = encoded(list_id), encoded(campaign_id)
        return bool(access_allows(
            self.principal, <uint8_t> right, slice_from(lists), slice_from(campaigns)
        ))

    def follow(self, Engine engine, list_ids, bint with_reservations):
        """Return a Feed of lists, of all where none is named, that shows what it may view."""
        cdef Feed feed = Feed(engine, list_ids, with_reservations)
        feed_limit(feed, may_view, self.principal, self)
        return feed

    def sees_as(self, Identity other not None):
        """Tell whether both are one principal, with the same rights to view."""
        return self.principal.id == other.principal.id \
            and same_grants(self.principal, other.principal, RIGHT_VIEW)

    def pay_rows(self, int64_t count):
        """Pay for rows that it brings, as for records it asks about; see `wait_ms`."""
        return wait_ms(spend(
            &self.principal.budget.get().records_ns, self.principal.record_price_ns, count,
            clock_elapsed(),
        ))

    def wait_ms(self):
        """Pay for a call of the control plane; milliseconds to wait instead, or 0."""
        cdef int64_t wait_ns = pay(self.principal, 0)
        return wait_ms(wait_ns)


def peer_host(str peer):
    """Return a peer as gRPC spells it, without its port: that differs between connections."""
    kind, colon, rest = unquote(peer).partition(":")
    return kind + colon + rest.rpartition(":")[0] if kind in ("ipv4", "ipv6") else kind + colon
