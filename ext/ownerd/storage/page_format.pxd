"""How LMDB 0.9 lays the pages of a tree without duplicates out, as `pages` and `walker` read them.

A page has a head, the places of its nodes, in the order of their keys, free space, and the nodes. A
node of a branch page is the number of a page and the first key of what is below; the first one's
key is empty. That of a leaf is a key and its value. What lies within a page is at even places only,
so it is copied before it is a number. Nothing read from a page is to be followed before it was
looked at.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    BRANCH = 1                        # flags of a page
    LEAF = 2
    OVERFLOW = 4
    BIG = 1                           # flags of a node: its value has pages of its own
    SUBTREE = 2                       # its value is a table
    MOST_DEPTH = 32                   # of a tree of LMDB's
    FIRST_PAGE = 2                    # behind the two heads
    META_MAGIC = 0xBEEFC0DE
    META_VERSION = 1

cdef packed struct PageHead:
    uint64_t number
    uint16_t pad
    uint16_t flags
    uint16_t lower                    # where the places of nodes end; with `upper`, of a value's
    uint16_t upper                    # pages, how many they are

cdef packed struct NodeHead:
    uint16_t low                      # of a value's size, or of a page's number
    uint16_t high
    uint16_t flags                    # or a page's number's highest bits
    uint16_t key_bytes

# What leads to a table's tree, in the main one.
cdef packed struct TableHead:
    uint32_t pad
    uint16_t flags
    uint16_t depth
    uint64_t branch_pages
    uint64_t leaf_pages
    uint64_t overflow_pages
    uint64_t entries
    uint64_t root

# What follows the head of each of the first two pages.
cdef packed struct MetaHead:
    uint32_t magic
    uint32_t version


cdef inline PageHead page_head(const char *page) noexcept nogil:
    cdef PageHead head
    memcpy(&head, page, sizeof(head))
    return head


cdef inline bint is_tree_page(
    const PageHead *head, uint64_t number, size_t page_bytes
) noexcept nogil:
    """Tell whether a head may be that of a page of a tree, a branch's or a leaf's, of this number.
    """
    return (
        head.number == number and (head.flags == BRANCH or head.flags == LEAF)
        and sizeof(PageHead) <= head.lower <= head.upper <= page_bytes and head.lower % 2 == 0
    )


cdef inline uint32_t node_count(const PageHead *head) noexcept nogil:
    return (head.lower - <uint32_t> sizeof(PageHead)) // 2


cdef inline uint16_t node_place(const char *page, uint32_t index) noexcept nogil:
    cdef uint16_t place
    memcpy(&place, page + sizeof(PageHead) + 2 * index, sizeof(place))
    return place


cdef inline bint node_at(
    const char *page, uint16_t upper, size_t page_bytes, size_t place, NodeHead *node
) noexcept nogil:
    """Copy a node's head; False unless that and the key lie within the page."""
    if place < upper or place + sizeof(NodeHead) > page_bytes:
        return False
    memcpy(node, page + place, sizeof(NodeHead))
    return place + sizeof(NodeHead) + node.key_bytes <= page_bytes


cdef inline size_t value_bytes(const NodeHead *node) noexcept nogil:
    """Return the size of the value of a leaf's node."""
    return node.low | <size_t> node.high << 16


cdef inline uint64_t child_of(const NodeHead *node) noexcept nogil:
    """Return the page that a branch's node leads to."""
    return node.low | <uint64_t> node.high << 16 | <uint64_t> node.flags << 32
