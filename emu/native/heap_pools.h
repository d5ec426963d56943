/* Part of heap.c: pools, as mimalloc's heaps are: their blocks may all be released by one call. Which blocks those are is
 * kept beside the table, so that a call costs what it releases; emu/cpu/pythonpools.py is the twin. */

typedef struct {
    uint64_t pointer, born;
} member;

typedef struct { /* the blocks that were made in it, in that order; some are no more */
    uint64_t key, used, size;
    member *members;
} pool;

static pool *pools; /* open addressing; the key of an empty place is 0 */
static uint64_t pools_mask, pools_used;

static void forget_pools(void)
{
    for (uint64_t i = 0; pools && i <= pools_mask; i++)
        free(pools[i].members);
    free(pools);
    pools = NULL, pools_mask = pools_used = 0;
}

static pool *pool_slot(uint64_t key)
{
    uint64_t i = key * HASH >> 32;
    while (pools[i & pools_mask].key && pools[i & pools_mask].key != key)
        i++;
    return &pools[i & pools_mask];
}

/* NULL: nothing was made in it. */
static pool *pool_at(uint64_t key)
{
    pool *p = pools ? pool_slot(key) : NULL;
    return p && p->key ? p : NULL;
}

static int grow_pools(void)
{
    uint64_t n = pools ? 2 * (pools_mask + 1) : 64;
    pool *old = pools, *new = zeroes(n, sizeof *new);
    if (!new)
        return 0;
    uint64_t before = old ? pools_mask + 1 : 0;
    pools = new, pools_mask = n - 1;
    for (uint64_t i = 0; i < before; i++)
        if (old[i].key)
            *pool_slot(old[i].key) = old[i];
    free(old);
    return 1;
}

/* The block that a member still is; NULL: it was released. */
static hp_block *still(const member *m)
{
    hp_block *b = block_at(m->pointer);
    return lives(b) && b->born == m->born ? b : NULL;
}

/* Room for one more member: where half of them are no more, they are forgotten. 0: there is no memory for it. */
static int make_room(pool *p)
{
    uint64_t left = 0;
    for (uint64_t i = 0; i < p->used; i++)
        if (still(&p->members[i]))
            p->members[left++] = p->members[i];
    p->used = left;
    if (2 * left < p->size)
        return 1;
    uint64_t n = p->size ? 2 * p->size : 16;
    member *members = longer(p->members, n, sizeof *members);
    if (!members)
        return 0;
    p->members = members, p->size = n;
    return 1;
}

/* A block was made in its pool. */
static __attribute__((noinline)) void join(const hp_block *b)
{
    if (2 * pools_used >= pools_mask && !grow_pools())
        return;
    pool *p = pool_slot(b->pool);
    pools_used += !p->key;
    p->key = b->pool;
    if (p->used == p->size && !make_room(p))
        return;
    p->members[p->used++] = (member){b->pointer, b->born};
}

static void empty(pool *p)
{
    free(p->members);
    p->members = NULL, p->used = p->size = 0;
}

/* The blocks of a pool are of the thread's first one from now on, which nothing releases. */
static void merge_pool(uint64_t key)
{
    pool *p = pool_at(key);
    if (!p)
        return;
    for (uint64_t i = 0; i < p->used; i++) {
        hp_block *b = still(&p->members[i]);
        if (b)
            b->pool = 0;
    }
    empty(p);
}
