/* Part of memcheck.c: the shadow, a hash table of pages. Those that are all alike share one. */

#define CACHED 1024u
#define MOST_KEPT (256ull << 20)
#define USER (1ull << 47)
#define HUGE (1ull << 32) /* what of a block lies beyond is not shadowed */

typedef struct { /* side by side: a store looks at both */
    uint64_t bad;   /* the program has no business there */
    uint64_t blank; /* inside of a live block, and nobody has written there since it was made */
} word;

typedef struct { /* one bit a byte */
    word words[64];
    uint64_t live[64];  /* inside of a live block of the program */
    uint64_t start[64]; /* a block begins, or began */
} page;

typedef struct {
    uint64_t vpn; /* and one; 0: empty */
    page *page;
} entry;

static page clean, all_live, all_blank, all_dead;
static entry *pages, cache[CACHED];
static uint64_t pages_mask, pages_used;
static uint64_t barred[8][2], barred_used; /* ranges that no allocator owns */
static uint8_t *slacks; /* of each function: bytes after a block that are nobody's, and before; are its blocks blank? */
static uint64_t slacks_used;

static entry *slot(uint64_t vpn)
{
    uint64_t i = vpn * HASH >> 32;
    while (pages[i & pages_mask].vpn && pages[i & pages_mask].vpn != vpn + 1)
        i++;
    return &pages[i & pages_mask];
}

static int shared(const page *p) { return p == &clean || p == &all_live || p == &all_blank || p == &all_dead; }

static void set(uint64_t vpn, page *p)
{
    entry *e = slot(vpn);
    if (!e->vpn && p == &clean)
        return;
    if (!e->vpn && 2 * ++pages_used > pages_mask) {
        entry *old = pages;
        uint64_t n = pages_mask + 1;
        pages = calloc(2 * n, sizeof *pages);
        pages_mask = 2 * n - 1;
        for (uint64_t i = 0; i < n; i++)
            if (old[i].vpn)
                *slot(old[i].vpn - 1) = old[i];
        free(old);
        e = slot(vpn);
    }
    if (e->vpn && e->page != p && !shared(e->page))
        free(e->page);
    *e = (entry){vpn + 1, p};
    if (cache[vpn % CACHED].vpn == vpn + 1)
        cache[vpn % CACHED].page = p;
}

static page *page_of(uint64_t vpn)
{
    const entry *e = slot(vpn);
    return e->vpn ? e->page : &clean;
}

/* A page that may be written. */
static page *own(uint64_t vpn)
{
    page *p = page_of(vpn);
    if (shared(p)) {
        static page nobodys;
        page *new = malloc(sizeof *new);
        if (!new)
            return &nobodys; /* the host has no memory: this page is not checked */
        *new = *p;
        set(vpn, p = new);
    }
    return p;
}

static page *near_page(uint64_t vpn)
{
    entry *e = &cache[vpn % CACHED];
    if (e->vpn != vpn + 1)
        *e = (entry){vpn + 1, page_of(vpn)};
    return e->page;
}

/* The bits [from, to) of word i of a page. */
static uint64_t mask_of(unsigned i, uint64_t from, uint64_t to)
{
    uint64_t low = from > i * 64 ? from - i * 64 : 0, high = to < i * 64 + 64 ? to - i * 64 : 64;
    return low >= high ? 0 : (high == 64 ? ~0ull : (1ull << high) - 1) & ~0ull << low;
}

enum { CLEAN, LIVE, BLANK, DEAD };

/* All bytes of [start, end) are now of this kind. Beginnings of blocks stay where they become DEAD. */
static void paint(uint64_t start, uint64_t end, int kind)
{
    static page *const all[] = {&clean, &all_live, &all_blank, &all_dead};
    while (start < end) {
        uint64_t vpn = start / PAGE, from = start % PAGE, to = end - vpn * PAGE < PAGE ? end - vpn * PAGE : PAGE;
        start = (vpn + 1) * PAGE;
        if (to - from == PAGE) {
            set(vpn, all[kind]);
            continue;
        }
        if (kind == CLEAN && page_of(vpn) == &clean)
            continue;
        page *p = own(vpn);
        for (unsigned i = from / 64; i * 64 < to; i++) {
            uint64_t m = mask_of(i, from, to);
            word *w = &p->words[i];
            w->bad = kind == DEAD ? w->bad | m : w->bad & ~m;
            w->blank = kind == BLANK ? w->blank | m : w->blank & ~m;
            p->live[i] = kind == LIVE || kind == BLANK ? p->live[i] | m : p->live[i] & ~m;
            if (kind != DEAD)
                p->start[i] &= ~m;
        }
    }
}

/* Bytes of [start, end), within one page, are bad unless a live block has them. `stop`: up to where one begins. */
static void paint_slack(uint64_t start, uint64_t end, int stop)
{
    if (start >= end)
        return;
    page *p = own(start / PAGE);
    uint64_t from = start % PAGE, to = from + (end - start);
    for (unsigned i = from / 64; i * 64 < to; i++) {
        uint64_t m = mask_of(i, from, to), ends = stop ? p->start[i] & m : 0;
        if (ends)
            m &= (ends & -ends) - 1;
        p->words[i].bad |= m & ~p->live[i];
        if (ends)
            return;
    }
}

static int is_barred(uint64_t va)
{
    for (uint64_t i = 0; i < barred_used; i++)
        if (va >= barred[i][0] && va < barred[i][1])
            return 1;
    return 0;
}

/* Somebody has written there. */
EXPORT void mc_wrote(uint64_t va, uint64_t size)
{
    uint64_t end = size > USER - va ? USER : va + size;
    for (uint64_t at = va; va < USER && at < end; at = (at | (PAGE - 1)) + 1) {
        page *p = page_of(at / PAGE);
        if (shared(p) && p != &all_blank)
            continue;
        p = own(at / PAGE);
        uint64_t from = at % PAGE, to = end - at < PAGE - from ? from + end - at : PAGE;
        for (unsigned i = from / 64; i * 64 < to; i++)
            p->words[i].blank &= ~mask_of(i, from, to);
    }
}

static uint64_t *kept; /* the blank bits of a block that is being resized */
static uint64_t kept_size, kept_words, kept_some;

/* Of the 64 bytes from va on. */
static uint64_t blanks(uint64_t va)
{
    uint64_t next = va + 64, low = page_of(va / PAGE)->words[va % PAGE / 64].blank >> va % 64;
    return va % 64 ? low | page_of(next / PAGE)->words[next % PAGE / 64].blank << (64 - va % 64) : low;
}

static void blot(uint64_t va, uint64_t bits)
{
    own(va / PAGE)->words[va % PAGE / 64].blank |= bits << va % 64;
    bits = va % 64 ? bits >> (64 - va % 64) : 0;
    va += 64;
    if (bits)
        own(va / PAGE)->words[va % PAGE / 64].blank |= bits;
}

/* Where a block ends: whoever has asked for its usable size has all of that. */
static uint64_t end_of(uint64_t pointer, uint64_t size)
{
    uint64_t end = pointer + (size < HUGE ? size : HUGE);
    while (end < USER && page_of(end / PAGE)->live[end % PAGE / 64] >> end % 64 & 1
           && !(page_of(end / PAGE)->start[end % PAGE / 64] >> end % 64 & 1))
        end++;
    return end;
}

/* The block is about to be another one, made next, which has its bytes. Of a very large one all count as written. */
EXPORT void mc_keep(uint64_t pointer, uint64_t size)
{
    if (pointer >= USER || size > USER - pointer)
        return;
    kept_size = end_of(pointer, size) - pointer, kept_some = 0;
    uint64_t words = kept_size > MOST_KEPT ? 0 : (kept_size + 63) / 64;
    if (words > kept_words) {
        uint64_t *new = realloc(kept, words * sizeof *new);
        kept = new ? new : kept, kept_words = new ? words : kept_words;
        words = new ? words : 0;
    }
    for (uint64_t i = 0; i < words; i++) {
        uint64_t left = kept_size - i * 64;
        kept_some |= kept[i] = blanks(pointer + i * 64) & (left < 64 ? (1ull << left) - 1 : ~0ull);
    }
}

/* A block of blank bytes has those of the one before it. */
static void take_kept(uint64_t pointer, uint64_t end)
{
    uint64_t size = end - pointer < kept_size ? end - pointer : kept_size;
    mc_wrote(pointer, size);
    for (uint64_t i = 0; kept_some && i * 64 < size; i++)
        if (kept[i])
            blot(pointer + i * 64, kept[i] & (size - i * 64 < 64 ? (1ull << (size - i * 64)) - 1 : ~0ull));
}

/* Where allocators have mapped memory: ranges in order, none overlapping. */
static uint64_t (*held)[2];
static uint64_t held_used, held_room;

/* The first that ends behind va. */
static uint64_t held_after(uint64_t va)
{
    uint64_t low = 0, high = held_used;
    while (low < high) {
        uint64_t mid = (low + high) / 2;
        if (held[mid][1] <= va)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static int is_held(uint64_t va)
{
    uint64_t i = held_after(va);
    return i < held_used && held[i][0] <= va;
}

/* [start, end) is an allocator's from now on, or is not. */
EXPORT void mc_hold(uint64_t start, uint64_t end, int allocators)
{
    uint64_t pieces[3][2], n = 0, i = held_after(start), gone = i;
    if (held_used + 2 > held_room) {
        uint64_t (*new)[2] = realloc(held, (2 * held_room + 64) * sizeof *held);
        if (!new)
            return; /* the host has no memory: less is checked */
        held = new, held_room = 2 * held_room + 64;
    }
    while (gone < held_used && held[gone][0] < end) {
        if (held[gone][0] < start)
            pieces[n][0] = held[gone][0], pieces[n++][1] = start;
        gone++;
    }
    uint64_t last = gone > i ? held[gone - 1][1] : 0;
    if (allocators)
        pieces[n][0] = start, pieces[n++][1] = end;
    if (last > end)
        pieces[n][0] = end, pieces[n++][1] = last;
    memmove(held + i + n, held + gone, (held_used - gone) * sizeof *held);
    memcpy(held + i, pieces, n * sizeof *held);
    held_used = held_used - (gone - i) + n;
}

/* What lies beside a block is bad, as far as the function's slack says. */
static void paint_beside(uint64_t pointer, uint64_t end, uint32_t function)
{
    uint64_t after = function < slacks_used ? slacks[3 * function] : 0, before = function < slacks_used ? slacks[3 * function + 1] : 0;
    uint64_t limit = (end + PAGE - 1) / PAGE * PAGE, first = pointer / PAGE * PAGE;
    if (end == limit && is_held(end))
        limit += PAGE;
    if (first == pointer && is_held(first - 1))
        first -= PAGE;
    uint64_t last = after ? end + after : (end + 7) & ~7ull;
    if (end - pointer < HUGE)
        paint_slack(end, last < limit ? last : limit, 1);
    paint_slack(pointer - first < before ? first : pointer - before, pointer, 0);
}

EXPORT void mc_made(uint64_t pointer, uint64_t size, uint32_t function, int inner)
{
    uint64_t end = pointer + (size < HUGE ? size : HUGE);
    if (pointer >= USER || end > USER)
        return;
    int blank = function < slacks_used && slacks[3 * function + 2];
    paint(pointer, end, inner ? CLEAN : blank ? BLANK : LIVE);
    if (!inner && blank && kept_size)
        take_kept(pointer, end);
    if (!inner)
        kept_size = 0;
    own(pointer / PAGE)->start[pointer % PAGE / 64] |= 1ull << pointer % 64;
    if (!inner && !is_barred(pointer))
        paint_beside(pointer, end, function);
}

EXPORT void mc_asked(uint64_t pointer, uint64_t size, uint64_t usable, uint32_t function)
{
    uint64_t end = pointer + usable;
    if (pointer >= USER || usable >= HUGE || end > USER)
        return;
    paint(pointer + size, end, LIVE);
    if (!is_barred(pointer))
        paint_beside(pointer, end, function);
}

EXPORT void mc_gone(uint64_t pointer, uint64_t size)
{
    if (pointer >= USER || size > USER - pointer)
        return;
    paint(pointer, end_of(pointer, size), DEAD);
    if (pointer % PAGE == 0) /* a whole page has forgotten it */
        own(pointer / PAGE)->start[0] |= 1;
}

/* What was mapped anew was never part of a block. */
EXPORT void mc_forget(uint64_t start, uint64_t end)
{
    if ((end - start) / PAGE <= pages_used) {
        paint(start, end, CLEAN);
        return;
    }
    for (uint64_t i = 0; i <= pages_mask; i++)
        if (pages[i].vpn && pages[i].vpn > start / PAGE && pages[i].vpn <= end / PAGE)
            set(pages[i].vpn - 1, &clean);
}

/* The first bad or blank byte of [va, va + size), counted from va; -1: none. */
static int64_t first(uint64_t va, uint64_t size, int blank)
{
    uint64_t end = size > USER - va ? USER : va + size;
    for (uint64_t at = va & ~63ull; va < USER && at < end; at += 64) {
        const page *p = page_of(at / PAGE);
        if (p == &clean) {
            at = (at | (PAGE - 1)) - 63;
            continue;
        }
        const word *w = &p->words[at % PAGE / 64];
        uint64_t found = (blank ? w->blank : w->bad) & mask_of(0, va > at ? va - at : 0, end - at);
        if (found)
            return (int64_t)(at + (unsigned)__builtin_ctzll(found) - va);
    }
    return -1;
}

EXPORT int64_t mc_first_bad(uint64_t va, uint64_t size) { return first(va, size, 0); }
EXPORT int64_t mc_first_blank(uint64_t va, uint64_t size) { return first(va, size, 1); }

/* The nearest beginnings of blocks: at va or below it, and above it within `reach` bytes; 0: none. */
EXPORT void mc_around(uint64_t va, uint64_t reach, uint64_t *below, uint64_t *above)
{
    *below = *above = 0;
    for (uint64_t vpn = va / PAGE, at = va % PAGE; !*below; vpn--, at = PAGE - 1) {
        const page *p = page_of(vpn);
        uint64_t known = 0;
        for (unsigned i = 0; i < 64; i++)
            known |= p->words[i].bad | p->live[i];
        if (!known)
            break;
        for (unsigned i = (unsigned)at / 64 + 1; i-- && !*below;) {
            uint64_t m = p->start[i] & mask_of(i, 0, at + 1);
            if (m)
                *below = vpn * PAGE + i * 64 + 63 - (unsigned)__builtin_clzll(m);
        }
    }
    for (uint64_t at = va + 1; at <= va + reach && !*above; at++)
        if (page_of(at / PAGE)->start[at % PAGE / 64] >> at % 64 & 1)
            *above = at;
}
