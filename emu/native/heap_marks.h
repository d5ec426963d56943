/* Part of heap.c: which blocks the program may release, by address, as a byte for each 16: what heap_quick.h needs to know
 * of a block before its table is asked. The low half is the family of the block that begins there, the high half of the
 * one that begins eight bytes on; 0: none that is known to live. Kept where H.quick is. */

#define REACH 26     /* the addresses of one map, as a power of two: 4 MiB of the host's, touched as used */
#define MOST_MAPS 4096 /* of more, nothing is known */

static uint8_t *maps[1u << (47 - REACH)]; /* by address >> REACH; NULL: there is none */
static uint32_t maps_used, maps_at[MOST_MAPS];

/* Its byte, and how far its half is from the low end; NULL: there is none. */
static inline uint8_t *half_of(uint64_t pointer, unsigned *shift)
{
    if (pointer & (7 | ALL << 47))
        return NULL;
    uint8_t *map = maps[pointer >> REACH];
    *shift = pointer & 8 ? 4 : 0;
    return map ? &map[(pointer & ((1ull << REACH) - 1)) >> 4] : NULL;
}

/* A block of this family begins there; 0: none does. Returns 0 where that cannot be noted yet. */
static inline int mark(uint64_t pointer, unsigned family)
{
    unsigned shift;
    uint8_t *byte = half_of(pointer, &shift);
    if (!byte)
        return 0;
    *byte = (uint8_t)((*byte & ~(15u << shift)) | family << shift);
    return 1;
}

/* Is a block known to live there that this family may release? It is not known from now on. */
static inline int take_mark(uint64_t pointer, unsigned family)
{
    unsigned shift;
    uint8_t *byte = half_of(pointer, &shift);
    if (!byte || !(*byte >> shift & family))
        return 0;
    *byte &= (uint8_t)~(15u << shift);
    return 1;
}

/* The same two for blocks whose address is a multiple of 16, as most are: less to do. */

static inline uint8_t *low_half_of(uint64_t pointer)
{
    uint8_t *map = pointer & (15 | ALL << 47) ? NULL : maps[pointer >> REACH];
    return map ? &map[(pointer & ((1ull << REACH) - 1)) >> 4] : NULL;
}

static inline int mark_aligned(uint64_t pointer, unsigned family)
{
    uint8_t *byte = low_half_of(pointer);
    if (!byte)
        return 0;
    *byte = (uint8_t)((*byte & 0xF0) | family);
    return 1;
}

static inline int take_aligned(uint64_t pointer, unsigned family)
{
    uint8_t *byte = low_half_of(pointer);
    if (!byte || !(*byte & family))
        return 0;
    *byte &= 0xF0;
    return 1;
}

/* `mark` of the first block in a map. */
static __attribute__((noinline, cold)) void mark_anew(uint64_t pointer, unsigned family)
{
    uint64_t at = pointer >> REACH;
    if (pointer & (7 | ALL << 47) || maps_used == MOST_MAPS || !(maps[at] = calloc(1ull << (REACH - 4), 1)))
        return;
    maps_at[maps_used++] = (uint32_t)at;
    mark(pointer, family);
}

static void forget_marks(void)
{
    while (maps_used) {
        uint8_t **map = &maps[maps_at[--maps_used]];
        free(*map);
        *map = NULL;
    }
}
