/* The promises of an allocator: equal in result to emu/cpu/pythonstrict.py, which says what they are. */
#include "strict.h"
#include "hooks.h"

#include <stdlib.h>
#include <string.h>

#define TOP (1ull << 47)
enum { MALLOCX_ZERO = 64, ENOMEM = 12, EINVAL = 22 };

typedef struct {
    uint64_t start, size;
    uint32_t left, right, weight;
} node;

typedef struct {
    uint64_t start, end;
    uint32_t kind;
} range;

static hs_state *S;
static st_state C;
static node *nodes; /* [0] is none; the free ones are linked by `left` */
static uint32_t nodes_used, nodes_size, spare, roots[2]; /* live blocks: by name, by rule */
static range *ranges;
static size_t ranges_used, ranges_size;

/* --- the live blocks: treaps by address ------------------------------------------------------------------------------ */

/* `low` gets what starts below `at`. */
static void split(uint32_t t, uint64_t at, uint32_t *low, uint32_t *high)
{
    if (!t)
        *low = *high = 0;
    else if (nodes[t].start < at) {
        split(nodes[t].right, at, &nodes[t].right, high);
        *low = t;
    } else {
        split(nodes[t].left, at, low, &nodes[t].left);
        *high = t;
    }
}

static uint32_t merge(uint32_t low, uint32_t high)
{
    if (!low || !high)
        return low ? low : high;
    if (nodes[low].weight > nodes[high].weight) {
        nodes[low].right = merge(nodes[low].right, high);
        return low;
    }
    nodes[high].left = merge(low, nodes[high].left);
    return high;
}

/* The block that starts last, below `at`; 0: none. */
static uint32_t below(uint32_t t, uint64_t at)
{
    uint32_t found = 0;
    while (t) {
        if (nodes[t].start < at)
            found = t, t = nodes[t].right;
        else
            t = nodes[t].left;
    }
    return found;
}

static uint32_t block_at(int set, uint64_t pointer)
{
    uint32_t t = below(roots[set], pointer + 1);
    return t && nodes[t].start == pointer ? t : 0;
}

static void give_back(uint32_t t)
{
    if (!t)
        return;
    give_back(nodes[t].left);
    give_back(nodes[t].right);
    nodes[t].left = spare, spare = t;
}

/* Blocks that start in [start, end) are live no more. */
static void erase(int set, uint64_t start, uint64_t end)
{
    uint32_t low, middle, high;
    split(roots[set], start, &low, &high);
    split(high, end, &middle, &high);
    give_back(middle);
    roots[set] = merge(low, high);
}

static void add(int set, uint64_t start, uint64_t size)
{
    uint32_t t = spare, low, high;
    if (t)
        spare = nodes[t].left;
    else {
        if (nodes_used + 1 >= nodes_size) {
            nodes_size = nodes_size ? 2 * nodes_size : 1024;
            nodes = realloc(nodes, nodes_size * sizeof *nodes);
        }
        t = ++nodes_used;
    }
    nodes[t] = (node){start, size, 0, 0, (uint32_t)((start ^ start >> 29) * HASH >> 32)};
    split(roots[set], start, &low, &high);
    roots[set] = merge(merge(low, t), high);
}

static uint64_t end_of(uint64_t start, uint64_t size)
{
    size += !size; /* C: as if the size were some nonzero value */
    return start + size < start ? ALL : start + size;
}

/* --- what is mapped -------------------------------------------------------------------------------------------------- */

/* The first range that ends at `va` or above. */
static size_t first_to(uint64_t va)
{
    size_t low = 0, high = ranges_used;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (ranges[middle].end < va)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static const range *range_at(uint64_t va)
{
    size_t i = first_to(va + 1);
    return i < ranges_used && ranges[i].start <= va ? &ranges[i] : NULL;
}

/* [start, end) is of this kind now; 0: nothing. Ranges.put of emu/analysis/space.py. */
EXPORT void st_mapped(uint64_t start, uint64_t end, uint32_t kind)
{
    size_t first = first_to(start), last, n = 0;
    range now[3];
    for (last = first; last < ranges_used && ranges[last].start <= end;)
        last++;
    if (first < last && ranges[first].start < start)
        now[n++] = (range){ranges[first].start, start, ranges[first].kind};
    if (kind) {
        if (n && now[0].kind == kind)
            start = now[--n].start;
        now[n++] = (range){start, end, kind};
    }
    if (first < last && ranges[last - 1].end > end) {
        if (kind && ranges[last - 1].kind == kind)
            now[n - 1].end = ranges[last - 1].end;
        else
            now[n++] = (range){end, ranges[last - 1].end, ranges[last - 1].kind};
    }
    if (ranges_used + 3 > ranges_size) {
        ranges_size = 2 * ranges_size + 64;
        ranges = realloc(ranges, ranges_size * sizeof *ranges);
    }
    memmove(ranges + first + n, ranges + last, (ranges_used - last) * sizeof *ranges);
    memcpy(ranges + first, now, n * sizeof *ranges);
    ranges_used = ranges_used - (last - first) + n;
}

/* --- the bytes of a block: a page that was never touched is zero ------------------------------------------------------ */

/* The page at va: its bytes, or NULL. *known: 0 if they are somewhere (in swap, in a file). *skip: bytes up to the next
 * page, or to the next page table where there is none. */
static const uint8_t *page(uint64_t va, int file, uint32_t *known, uint64_t *skip)
{
    if (va >= TOP) {
        *known = 0, *skip = TOP;
        return NULL;
    }
    const uint64_t *table = hs_page_table(va);
    *skip = table ? PAGE - va % PAGE : (1ull << 21) - va % (1ull << 21);
    uint64_t pte = table ? table[va >> 12 & 511] : 0, pa = pte & FRAME;
    if (pte & PRESENT && pa + PAGE <= S->ram_size)
        return S->ram + pa + va % PAGE;
    if (pte || file)
        *known = 0;
    return NULL;
}

static int is_file(uint64_t va)
{
    const range *r = range_at(va);
    return r && r->kind & ST_FILE;
}

static uint64_t mixed(uint64_t word, uint64_t number)
{
    uint64_t sum = (word ^ number * HASH) * 0xBF58476D1CE4E5B9ull;
    return word ? sum ^ sum >> 31 : 0;
}

/* A sum over all words that are not zero, each with its number in the block. */
static uint64_t hash(uint64_t va, uint64_t n, uint32_t *known)
{
    uint64_t sum = 0, at = 0, word = 0, last = 0;
    int file = is_file(va);
    while (at < n) {
        uint64_t skip;
        const uint8_t *bytes = page(va + at, file, known, &skip);
        if (skip > n - at)
            skip = n - at;
        for (uint64_t i = 0; bytes && i < skip;) { /* a word may lie on two pages */
            uint64_t place = at + i;
            if (place / 8 != last)
                sum += mixed(word, last), word = 0, last = place / 8;
            if (place % 8 == 0 && i + 8 <= skip) {
                memcpy(&word, bytes + i, 8);
                i += 8;
            } else
                word |= (uint64_t)bytes[i++] << 8 * (place % 8);
        }
        at += skip;
    }
    return sum + mixed(word, last);
}

/* The first byte of n that is not zero; ALL: they all are. */
static uint64_t not_zero(uint64_t va, uint64_t n, uint32_t *known)
{
    int file = is_file(va);
    for (uint64_t at = 0, skip; at < n; at += skip) {
        const uint8_t *bytes = page(va + at, file, known, &skip);
        if (skip > n - at)
            skip = n - at;
        if (!bytes || (!bytes[0] && !memcmp(bytes, bytes + 1, skip - 1)))
            continue;
        uint64_t i = 0;
        while (!bytes[i])
            i++;
        return at + i;
    }
    return ALL;
}

/* --- the checks ------------------------------------------------------------------------------------------------------- */

static void violate(hp_event *e, uint32_t what, uint64_t detail)
{
    e->flags |= HP_BROKEN;
    C.on_violation(e, what, detail);
}

static void check_errno(hp_event *e, const hp_function *f, uint64_t rax)
{
    uint64_t base = 0;
    uint32_t told = (uint32_t)rax;
    if (!(f->options & HP_SETS_ERRNO) || !e->size)
        return;
    if (f->out < 0) {
        if (C.errno_how == ST_NO_PLACE)
            return;
        if (C.errno_how == ST_IN_TLS)
            S->reg_read(S->uc, (int)C.fs_base, &base);
        if (hs_read_guest(base + (uint64_t)C.errno_at, &told, 4) != 4)
            return;
    }
    if (told != ENOMEM && !(f->alignment >= 0 && told == EINVAL))
        violate(e, ST_NO_ERRNO, told);
}

static uint64_t alignment_of(const hp_event *e, const hp_function *f)
{
    uint64_t wanted = 1ull << f->aligned;
    if (e->alignment)
        return e->alignment & (e->alignment - 1) ? 1 : e->alignment;
    if (f->aligned <= 4)
        while (wanted > 1 && wanted > e->size)
            wanted /= 2;
    return wanted;
}

static void check_place(hp_event *e, const hp_function *f)
{
    int set = (f->options & HP_RULED) != 0;
    uint64_t end = end_of(e->result, e->size), wanted = alignment_of(e, f);
    uint32_t before = below(roots[set], end);
    if (before && end_of(nodes[before].start, nodes[before].size) > e->result)
        violate(e, ST_OVERLAP, nodes[before].start);
    if (e->result & (wanted - 1))
        violate(e, ST_MISALIGNED, wanted);
    const range *r = range_at(e->result);
    if (!r || (!set && (r->kind & ST_KIND) == ST_STACK))
        violate(e, ST_OUTSIDE, 0);
    else if (end > r->end)
        violate(e, ST_OUTSIDE, r->end - e->result);
    if (before && block_at(set, e->result))
        erase(set, e->result, e->result + 1);
    add(set, e->result, e->size);
}

static void check_kept(hp_event *e, const st_kept *kept)
{
    uint64_t n = kept->size < e->size ? kept->size : e->size;
    uint32_t known = kept->known;
    uint64_t now = hash(e->result ? e->result : e->pointer, n, &known);
    if (!known)
        C.unchecked++;
    else if (now != kept->hash)
        violate(e, ST_LOST_BYTES, n);
}

void st_entered(const hp_event *e, const hp_function *f, st_kept *kept, uint64_t flags)
{
    uint32_t t = e->pointer ? block_at((f->options & HP_RULED) != 0, e->pointer) : 0;
    uint64_t n = t && nodes[t].size < e->size ? nodes[t].size : e->size;
    kept->size = t ? nodes[t].size : ALL;
    kept->zeroes = f->options & HP_ZEROES || flags & MALLOCX_ZERO;
    kept->known = 1;
    if (t && f->verb == HP_RESIZE && n < TOP)
        kept->hash = hash(e->pointer, n, &kept->known);
}

void st_returned(hp_event *e, const hp_function *f, const st_kept *kept, uint64_t rax)
{
    int makes = f->verb == HP_ALLOCATE || f->verb == HP_RESIZE;
    if (f->verb == HP_ASK && kept->size != ALL && e->result < kept->size)
        violate(e, ST_TOO_SMALL, kept->size);
    if (makes && !e->result) {
        if (f->options & HP_NEVER_NULL)
            violate(e, ST_NULL, 0);
        check_errno(e, f, rax);
    }
    if (f->verb == HP_RESIZE && kept->size < TOP && e->size && (e->result || !(f->options & HP_FREES_FAILED)))
        check_kept(e, kept);
    if (!makes || !e->result)
        return;
    if (e->size >> 63) {
        violate(e, ST_IMPOSSIBLE, 0);
        return;
    }
    check_place(e, f);
    if (f->verb == HP_ALLOCATE && kept->zeroes && e->size < TOP) {
        uint32_t known = 1;
        uint64_t at = not_zero(e->result, e->size, &known);
        if (at != ALL)
            violate(e, ST_NOT_ZERO, at);
        else
            C.unchecked += !known;
    }
}

void st_released(uint64_t pointer, const hp_function *f)
{
    int set = (f->options & HP_RULED) != 0;
    uint32_t t = block_at(set, pointer);
    if (!t)
        return;
    if (!set && roots[1]) /* what another allocator made of it is gone too */
        erase(1, pointer, end_of(pointer, nodes[t].size));
    erase(set, pointer, pointer + 1);
}

/* Everything anew. */
EXPORT st_state *st_init(hs_state *state)
{
    free(nodes), free(ranges);
    nodes = NULL, ranges = NULL;
    nodes_used = nodes_size = spare = roots[0] = roots[1] = 0;
    ranges_used = ranges_size = 0;
    memset(&C, 0, sizeof C);
    S = state;
    return &C;
}
