/* Part of heap.c: the table of blocks, at each address where one began. Open addressing, one cache line for a block: what
 * is looked up is told, too, and a block costs one miss. */

#define MANY_DEAD (1u << 20)

static uint64_t blocks_used, dead;
static void *blocks_memory; /* what calloc gave; H.blocks lies in it, aligned */

#define HUGE_PAGE (2u << 20)

static hp_block *home_of(uint64_t pointer) { return &H.blocks[(pointer * HASH >> 24) & (H.blocks_size - 1)]; }

static inline hp_block *block_at(uint64_t pointer)
{
    hp_block *b = home_of(pointer);
    while (b->pointer && b->pointer != pointer)
        b = b + 1 < H.blocks + H.blocks_size ? b + 1 : H.blocks;
    return b;
}

static int lives(const hp_block *b) { return b->used && !b->freed_at; }

/* An empty table of n places, a power of two; 0: there is no memory for it. The old one is the caller's. Of huge pages where
 * it is as large: a lookup is a miss, it need not be one of the TLB too. */
static int new_table(uint64_t n)
{
    size_t size = n * sizeof *H.blocks, align = size < HUGE_PAGE ? sizeof *H.blocks : HUGE_PAGE;
    void *memory = zeroes(size + align, 1);
    if (!memory)
        return 0;
    blocks_memory = memory;
    H.blocks = (hp_block *)(((uintptr_t)memory + align - 1) & ~(uintptr_t)(align - 1));
    H.blocks_size = n;
    blocks_used = dead = 0;
#if defined(MADV_HUGEPAGE)
    if (align == HUGE_PAGE)
        madvise(H.blocks, size, MADV_HUGEPAGE);
#endif
    return 1;
}

/* Make room; where more than a million dead blocks are the greater part, they are forgotten. */
static int grow_blocks(void)
{
    int forget = dead > MANY_DEAD && 2 * dead > blocks_used + 1;
    const hp_block *old = H.blocks, *end = old + H.blocks_size;
    void *memory = blocks_memory;
    if (!new_table(forget ? H.blocks_size : 2 * H.blocks_size))
        return 0;
    for (const hp_block *b = old; b < end; b++)
        if (b->used && !(forget && b->freed_at)) {
            *block_at(b->pointer) = *b;
            blocks_used++;
            dead += b->freed_at != 0;
        }
    free(memory);
    return 1;
}

/* What is added up: a block of more than PTRDIFF_MAX bytes, which only a broken allocator makes, is none. */
static inline uint64_t possible(uint64_t size) { return size >> 63 ? 0 : size; }

static uint64_t made_in; /* the pool of the block that is inserted next; 0: none is known */

#include "heap_pools.h"

/* The block that the call has made. */
static void insert(hp_event *e, uint8_t family)
{
    hp_block *b = block_at(e->result);
    uint8_t inner = e->flags & HP_INNER;
    uint64_t pool = made_in;
    made_in = 0;
    if (lives(b)) {
        if (b->inner)
            pool = pool ? pool : b->pool; /* of the call inside, whose block it is */
        else if (inner)
            return; /* the call around it is about to release or to resize this one */
        else {
            e->flags |= HP_OVERLAPS;
            e->freed += b->size;
        }
    }
    if (b->used)
        dead -= b->freed_at != 0;
    else {
        if (2 * blocks_used >= H.blocks_size) {
            if (!grow_blocks())
                return;
            b = block_at(e->result);
        }
        blocks_used++;
    }
    *b = (hp_block){e->result, possible(e->size), H.events, 0, e->site, e->stack, 0, 0,
                    e->function, 0, family, inner, 1, 0, pool};
    if (pool)
        join(b);
    if (mc_on)
        mc_made(e->result, e->size, e->function, inner);
}

/* It is dead from the call on that was entered at `entry`. */
static inline void die(hp_block *b, uint64_t entry, uint32_t site, uint32_t stack, uint16_t function)
{
    b->freed_at = entry;
    b->freed_site = site;
    b->freed_stack = stack;
    b->freed_function = function;
    dead++;
}

static inline void release(hp_block *b, hp_event *e)
{
    if (!b->inner) {
        e->born = b->born;
        e->freed += b->size;
        if (H.strict)
            st_released(b->pointer, &functions[b->function].does);
    }
    die(b, e->entry, e->site, e->stack, e->function);
    if (H.quick && !b->inner)
        try_mark(b->pointer, 0);
    if (mc_on)
        mc_gone(b->pointer, b->size);
}

/* A call of the program that names a block: is it one it may name? Before the allocator does anything. */
static inline hp_block *check(hp_event *e, const hp_function *f)
{
    hp_block *b = block_at(e->pointer);
    if (!b->used)
        e->flags |= HP_NO_BLOCK;
    else if (b->freed_at)
        e->flags |= HP_FREED_TWICE;
    else {
        if (!(b->family & f->family))
            e->flags |= HP_MISMATCHED;
        if (f->options & HP_EXACT_SIZE && b->size != e->size)
            e->flags |= HP_WRONG_SIZE;
    }
    if (e->flags & HP_MISUSE)
        H.on_misuse(e, b->used ? b : NULL);
    return e->flags & (HP_NO_BLOCK | HP_FREED_TWICE) ? NULL : b;
}

/* What an allocator releases inside another of its functions was its own, or is the outer call's business. */
static void release_inner(hp_event *e)
{
    hp_block *b = block_at(e->pointer);
    if (lives(b) && b->inner)
        release(b, e);
}
