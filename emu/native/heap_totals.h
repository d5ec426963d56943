/* Part of heap.c: HeapFold.batch of emu/analysis/heap.py, for one event at a time. */

static unsigned size_class(uint64_t size)
{
    if (size <= 16)
        return size != 0;
    return 61 - (unsigned)__builtin_clzll(size - 1);
}

static uint64_t *dear_slot(uint64_t key)
{
    uint64_t i = key * HASH >> 32;
    while (H.dear[2 * (i & H.dear_mask)] && H.dear[2 * (i & H.dear_mask)] != key)
        i++;
    return &H.dear[2 * (i & H.dear_mask)];
}

static int grow_dear(void)
{
    uint64_t *old = H.dear, n = H.dear_mask + 1, *table = zeroes(4 * n, sizeof *table);
    if (!table)
        return 0;
    H.dear = table;
    H.dear_mask = 2 * n - 1;
    for (uint64_t i = 0; i < n; i++)
        if (old[2 * i])
            memcpy(dear_slot(old[2 * i]), old + 2 * i, 2 * sizeof *old);
    free(old);
    return 1;
}

static __attribute__((noinline)) void count_dear(unsigned group, unsigned class, uint32_t cost)
{
    uint64_t key = (uint64_t)cost | (uint64_t)class << 32 | (uint64_t)group << 40 | 1ull << 63;
    uint64_t *at = dear_slot(key);
    if (!at[0]) {
        if (2 * (H.dear_used + 1) > H.dear_mask) {
            if (!grow_dear())
                return;
            at = dear_slot(key);
        }
        H.dear_used++;
    }
    at[0] = key;
    at[1]++;
}

static void count_place(uint64_t place, uint64_t size)
{
    if (place >= H.places_size) {
        uint64_t n = 2 * place + 1024, *places = longer(H.places, n, 2 * sizeof *places);
        if (!places)
            return;
        H.places = places;
        memset(places + 2 * H.places_size, 0, 2 * (n - H.places_size) * sizeof *places);
        H.places_size = n;
    }
    H.places[2 * place]++;
    H.places[2 * place + 1] += size;
}

/* A block was made of `size` bytes, by a call that was done at instruction `at`. */
static inline void count_made(hp_totals *t, uint64_t size, unsigned class, uint64_t place, uint64_t at)
{
    t->allocated += size;
    t->sizes[class]++;
    count_place(place, size);
    int64_t live = (int64_t)(t->allocated - t->freed);
    if (live > t->peak) {
        t->peak = live;
        t->peak_blocks = t->live_blocks;
        t->peak_event = H.events;
        t->peak_instructions = at;
    }
}

/* What a call took that has returned. */
static inline void count_taken(hp_totals *t, unsigned group, unsigned class, uint32_t cost, uint32_t faults, uint32_t syscalls)
{
    if (faults | syscalls) {
        t->faults[group] += faults;
        t->syscalls[group] += syscalls;
    }
    if (cost < HP_SMALL)
        t->costs[group][class][cost]++;
    else
        count_dear(group, class, cost);
}

static inline __attribute__((always_inline)) void count(const hp_event *e, unsigned verb, unsigned flags)
{
    hp_totals *t = H.totals;
    unsigned returned = !(flags & (HP_ABANDONED | HP_UNFINISHED));
    if (flags) {
        t->misused += (flags & HP_MISUSE) != 0;
        t->overlaps += (flags & HP_OVERLAPS) != 0;
        if (flags & HP_INNER) {
            t->inner++;
            return;
        }
        t->unreturned += !returned;
    }
    t->calls[e->kind]++;
    uint64_t size = possible(e->size);
    unsigned wanted = verb <= HP_RESIZE, made = wanted && e->result, class = size_class(made ? size : e->freed);
    t->freed += e->freed;
    t->live_blocks += (int)made - (e->born != 0);
    if (made)
        count_made(t, size, class, H.stack_depth ? e->stack : e->site, e->entry + e->cost);
    else
        t->failed += wanted && returned && e->size;
    if (returned && verb <= HP_RELEASE)
        count_taken(t, !wanted, class, e->cost, e->faults, e->syscalls);
}
