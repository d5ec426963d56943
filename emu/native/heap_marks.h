/* Part of heap.c: which blocks the program may release, by address, a byte for each eight: the family of the block that
 * begins there; 0: none that is known to live. What heap_quick.h needs to know before the table of blocks is asked. Kept
 * where H.quick is. */

#define REACH 26       /* the addresses of one map, as a power of two: 8 MiB of the host's, touched as used */
#define MOST_MAPS 4096 /* of more, nothing is known */

static uint8_t *maps[1u << (47 - REACH)]; /* by address >> REACH; NULL: there is none */
static uint32_t maps_used, maps_at[MOST_MAPS];

/* Could a block begin there whose mark is kept? */
static inline int markable(uint64_t pointer) { return !(pointer & (7 | ALL << 47)); }

static inline uint8_t *mark_of(uint64_t pointer)
{
    uint8_t *map = markable(pointer) ? maps[pointer >> REACH] : NULL;
    return map ? &map[(pointer & ((1ull << REACH) - 1)) >> 3] : NULL;
}

/* 0: there is no map for it yet. */
static inline int try_mark(uint64_t pointer, uint8_t family)
{
    uint8_t *mark = mark_of(pointer);
    if (!mark)
        return 0;
    *mark = family;
    return 1;
}

/* A block of this family begins there. */
static void mark(uint64_t pointer, uint8_t family)
{
    if (try_mark(pointer, family) || !markable(pointer) || maps_used == MOST_MAPS)
        return;
    uint64_t at = pointer >> REACH;
    if (!(maps[at] = calloc(1ull << (REACH - 3), 1)))
        return;
    maps_at[maps_used++] = (uint32_t)at;
    try_mark(pointer, family);
}

/* Is a block known to live there that this family may release? It is not known from now on. */
static inline int take_mark(uint64_t pointer, uint8_t family)
{
    uint8_t *mark = mark_of(pointer);
    if (!mark || !(*mark & family))
        return 0;
    *mark = 0;
    return 1;
}

static void forget_marks(void)
{
    while (maps_used) {
        uint8_t **map = &maps[maps_at[--maps_used]];
        free(*map);
        *map = NULL;
    }
}
