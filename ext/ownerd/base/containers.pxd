"""The C++ standard library as the native modules use it.

Declared without `except +`: a failed allocation is not turned into a Python error in the middle of
a decision but ends the process (std::terminate). The store is crash-only, so nothing half-applied
can be seen afterwards.
"""

cdef extern from "<string>" namespace "std" nogil:
    cdef cppclass string:
        string()
        string(const char *, size_t)
        string(const string &)
        const char *data()
        size_t size()
        bint empty()
        void clear()
        void reserve(size_t)
        void resize(size_t)
        string &append(const char *, size_t)
        string &append(const string &)
        string &assign(const char *, size_t)
        char &operator[](size_t)
        bint operator==(const string &)

cdef extern from "<vector>" namespace "std" nogil:
    cdef cppclass vector[T]:
        cppclass iterator:
            iterator()
        vector()
        T &operator[](size_t)
        iterator begin()
        iterator end()
        iterator insert(iterator, const T &)
        iterator erase(iterator)
        T &back()
        size_t size()
        bint empty()
        void push_back(const T &)
        void pop_back()
        void clear()
        void resize(size_t)
        void resize(size_t, const T &)
        void reserve(size_t)
        void swap(vector[T] &)

cdef extern from "<utility>" namespace "std" nogil:
    cdef cppclass pair[T, U]:
        T first
        U second
        pair()
        pair(T, U)

cdef extern from "<set>" namespace "std" nogil:
    cdef cppclass set[T]:
        cppclass iterator:
            iterator()
            T &operator*()
            bint operator==(iterator)
            bint operator!=(iterator)
            iterator operator++()
        set()
        size_t size()
        bint empty()
        void insert(const T &)
        size_t erase(const T &)
        iterator begin()
        iterator end()
        iterator lower_bound(const T &)
        iterator upper_bound(const T &)

cdef extern from "<map>" namespace "std" nogil:
    cdef cppclass map[K, V]:
        cppclass iterator:
            iterator()
            pair[K, V] &operator*()
            bint operator==(iterator)
            bint operator!=(iterator)
            iterator operator++()
            iterator operator--()
        map()
        V &operator[](const K &)
        size_t size()
        bint empty()
        size_t erase(const K &)
        iterator begin()
        iterator end()
        iterator find(const K &)
        iterator lower_bound(const K &)
        iterator upper_bound(const K &)
        void clear()

cdef extern from "<unordered_map>" namespace "std" nogil:
    cdef cppclass unordered_map[K, V]:
        cppclass iterator:
            iterator()
            pair[K, V] &operator*()
            bint operator==(iterator)
            bint operator!=(iterator)
            iterator operator++()
        unordered_map()
        V &operator[](const K &)
        size_t size()
        size_t erase(const K &)
        size_t count(const K &)
        iterator begin()
        iterator end()
        iterator find(const K &)
        void clear()
        void swap(unordered_map[K, V] &)

cdef extern from "<mutex>" namespace "std" nogil:
    cdef cppclass mutex:
        mutex()
        void lock()
        void unlock()
