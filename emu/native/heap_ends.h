/* Part of heap.c: emu/analysis/ends.py over the table of blocks, when a run is over. The edges and the sizes of all blocks
 * are sorted, and gone through once. */

#define NEAR 64u /* emu/analysis/ends.py */

typedef struct {
    uint64_t at;
    int32_t of, step; /* 0: what is held, 1: a live block, 2: a freed one; 1: begins, -1: ends */
} edge;

static int by_place(const void *a, const void *b)
{
    uint64_t x = ((const edge *)a)->at, y = ((const edge *)b)->at;
    return (x > y) - (x < y);
}

static int by_address(const void *a, const void *b)
{
    uint64_t x = (*(const hp_block *const *)a)->pointer, y = (*(const hp_block *const *)b)->pointer;
    return (x > y) - (x < y);
}

static int by_size(const void *a, const void *b)
{
    const hp_taken *x = a, *y = b;
    return x->size != y->size ? (x->size > y->size) - (x->size < y->size) : (x->takes > y->takes) - (x->takes < y->takes);
}

static int told(const hp_block *b) { return b->used && !b->inner && b->pointer < 1ull << 47 && b->size < 1ull << 47; }

static edge *two_edges(edge *e, uint64_t start, uint64_t end, int32_t of)
{
    e[0] = (edge){start, of, 1};
    e[1] = (edge){end, of, -1};
    return e + 2;
}

/* Bytes that are live and held, freed and held, and live elsewhere. */
static int sum_space(hp_ends *ends, const hp_block **all, uint64_t n, const uint64_t *held, uint64_t ranges)
{
    edge *edges = zeroes(2 * (n + ranges) + 1, sizeof *edges), *e = edges;
    if (!edges)
        return 0;
    for (uint64_t i = 0; i < ranges; i++)
        e = two_edges(e, held[2 * i], held[2 * i + 1], 0);
    for (uint64_t i = 0; i < n; i++)
        e = two_edges(e, all[i]->pointer, all[i]->pointer + all[i]->size, all[i]->freed_at ? 2 : 1);
    qsort(edges, (size_t)(e - edges), sizeof *e, by_place);
    int64_t inside[3] = {0, 0, 0};
    for (const edge *now = edges; now < e - 1; now++) {
        inside[now->of] += now->step;
        uint64_t length = now[1].at - now->at;
        ends->live += inside[0] && inside[1] ? length : 0;
        ends->freed += inside[0] && inside[2] && !inside[1] ? length : 0;
        ends->elsewhere += inside[1] && !inside[0] ? length : 0;
    }
    free(edges);
    return 1;
}

static uint64_t end_of(const hp_block *b) { return b->pointer + (b->size ? b->size : 1); }

/* The blocks as they lay: dead ones where a live one lies now are left out, and impossibly large ones. How many are left. */
static uint64_t uncover(const hp_block **all, uint64_t n)
{
    uint64_t left = 0, next = 0;
    const hp_block *before = NULL;
    for (uint64_t i = 0; i < n; i++)
        if (!(all[i]->size >> 46))
            all[left++] = all[i];
    n = left, left = 0;
    for (uint64_t i = 0; i < n; i++) {
        const hp_block *b = all[i];
        for (next = next > i ? next : i; next < n && all[next]->freed_at; next++)
            ;
        int covered = (before && end_of(before) > b->pointer) || (next < n && all[next]->pointer < end_of(b));
        if (!b->freed_at)
            before = b, next++;
        else if (covered)
            continue;
        all[left++] = b;
    }
    return left;
}

/* What a block of each size takes: the least distance to the next one. */
static int sum_sizes(hp_ends *ends, const hp_block **all, uint64_t n)
{
    hp_taken *taken = zeroes(n + 1, sizeof *taken);
    if (!taken)
        return 0;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t size = all[i]->size, apart = i + 1 < n ? all[i + 1]->pointer - all[i]->pointer : 0;
        int near = apart >= (size ? size : 1) && apart <= 2 * size + NEAR;
        taken[i] = (hp_taken){size, near ? apart : ALL, 1};
    }
    qsort(taken, n, sizeof *taken, by_size);
    uint64_t used = 0;
    for (uint64_t i = 0, j; i < n; i = j) {
        for (j = i + 1; j < n && taken[j].size == taken[i].size; j++)
            ;
        if (taken[i].takes != ALL)
            taken[used++] = (hp_taken){taken[i].size, taken[i].takes, j - i};
    }
    ends->taken = taken, ends->taken_used = used;
    return 1;
}

/* Live blocks by call stack, and by call site where no stack was taken. */
static int sum_leaks(hp_ends *ends)
{
    hp_leak *leaks = zeroes(H.stacks_used + H.sites_used, sizeof *leaks);
    if (!leaks)
        return 0;
    for (const hp_block *b = H.blocks, *end = b + H.blocks_size; b < end; b++)
        if (lives(b) && !b->inner) {
            hp_leak *leak = &leaks[b->stack ? b->stack : H.stacks_used + b->site];
            leak->stack = b->stack, leak->site = b->site;
            leak->blocks++, leak->bytes += b->size;
        }
    ends->leaks = leaks, ends->leaks_used = H.stacks_used + H.sites_used;
    return 1;
}

/* `held` are the ranges [start, end) that are the allocator's. NULL: there is no memory for it. What it returns stays until
 * the next call. */
EXPORT const hp_ends *hp_sum_up(const uint64_t *held, uint64_t ranges)
{
    static hp_ends ends;
    free(ends.taken), free(ends.leaks);
    memset(&ends, 0, sizeof ends);
    const hp_block **all = zeroes(blocks_used + 1, sizeof *all);
    if (!all)
        return NULL;
    uint64_t n = 0;
    for (const hp_block *b = H.blocks, *end = b + H.blocks_size; b < end; b++)
        if (told(b))
            all[n++] = b;
    qsort(all, n, sizeof *all, by_address);
    int done = sum_space(&ends, all, n, held, ranges) && sum_leaks(&ends) && sum_sizes(&ends, all, uncover(all, n));
    free(all);
    return done ? &ends : NULL;
}
