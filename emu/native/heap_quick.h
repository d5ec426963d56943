/* Part of heap.c: a short way for most calls of most programs, with the same result. The calls: the program's own, of a
 * function that allocates so many bytes or that releases a block that lives, and that itself calls no traced one. The runs:
 * nobody takes the events, call stacks, --strict or --memcheck. Where it is not just that, `lengthen` makes of it what
 * `entered` would have made, and heap.c goes on.
 *
 * At the call and its return only what is gone later is looked at. The tables and sums are brought up to date for many
 * calls at a time, which costs half of it: their code and their lines of the cache are not fetched anew for each. */

#define QUICK_NONE 16

static uint8_t quick_argument(const hp_function *f)
{
    int only = f->count < 0 && f->alignment < 0 && f->out < 0 && !(f->options & (HP_EXACT_SIZE | HP_IN_PLACE));
    if (only && f->verb == HP_ALLOCATE && f->size >= 0 && f->pointer < 0)
        return arguments[f->size];
    if (only && f->verb == HP_RELEASE && f->pointer >= 0 && f->size < 0)
        return arguments[f->pointer];
    return QUICK_NONE;
}

#define NOTED 256 /* calls; from 32 to 1,024 it makes no difference */

typedef struct { /* a call, noted when it happens and settled later */
    uint64_t entry, end, argument, result;
    const traced *of;
    uint32_t faults, syscalls; /* made inside */
    uint32_t site, unused;
} note;

static note notes[NOTED]; /* oldest first */

static struct {
    note *next; /* of the call under way or, if `of` is NULL, of the next one */
    const traced *of;
    uint64_t sp, ret;          /* of that call */
    const uint64_t *registers; /* H's */
    uint64_t entries; /* what S->entries was when all below was true, the address space the one that is traced, and no call
                       * under way or unsettled the long way; ALL: it is not */
    uint64_t page;             /* of the stack, by number; ALL: not known */
    const uint8_t *bytes;      /* it in the host */
    uint64_t faults, syscalls; /* up to now */
} Q;

static void begin_quick(void)
{
    Q.of = NULL, Q.entries = Q.page = ALL, Q.next = notes;
}

/* --- what is settled later --- */

static inline int allocates(const traced *t) { return t->does.verb == HP_ALLOCATE; }

/* `insert` of a block whose address none has had, or one has that lives. How many bytes the latter had. */
static __attribute__((noinline)) uint64_t insert_noted(const note *n, uint64_t size)
{
    hp_event e = {.result = n->result, .size = size, .site = n->site, .function = n->of->number};
    insert(&e, n->of->does.family);
    H.totals->overlaps += e.flags != 0;
    return e.freed;
}

static inline void settle_made(const note *n, hp_totals *t, uint64_t size)
{
    hp_block *b = home_of(n->result);
    if (b->pointer == n->result && b->freed_at) {
        *b = (hp_block){n->result, size, H.events, 0, n->site, 0, 0, 0, n->of->number, 0, n->of->does.family, 0, 1, 0, 0};
        dead--;
    } else
        t->freed += insert_noted(n, size);
    t->live_blocks++;
}

/* Returns the size of the block; 0 where there was no memory to keep it. */
static inline uint64_t settle_gone(const note *n, hp_totals *t)
{
    hp_block *b = home_of(n->argument);
    if (b->pointer != n->argument)
        b = block_at(n->argument);
    if (!lives(b))
        return 0;
    t->freed += b->size;
    t->live_blocks--;
    die(b, n->entry, n->site, 0, n->of->number);
    return b->size;
}

/* What `insert`, `release` and `count` come to here. */
static inline void settle_one(const note *n, hp_totals *t)
{
    uint64_t took = n->end - n->entry, size = 0;
    uint32_t cost = took < UINT32_MAX ? (uint32_t)took : UINT32_MAX;
    H.events++;
    t->calls[n->of->does.kind]++;
    if (!allocates(n->of)) {
        if (n->argument)
            size = settle_gone(n, t);
        count_taken(t, 1, size_class(size), cost, n->faults, n->syscalls);
        return;
    }
    if (n->result) {
        size = possible(n->argument);
        settle_made(n, t, size);
        count_made(t, size, size_class(size), n->site, n->entry + cost);
    } else
        t->failed += n->argument != 0;
    count_taken(t, 0, size_class(size), cost, n->faults, n->syscalls);
}

static __attribute__((noinline)) void settle_notes(void)
{
    const note *end = Q.next;
    note under_way = *end;
    for (const note *n = notes; n < end && !H.stopped; n++)
        settle_one(n, H.totals);
    *(Q.next = notes) = under_way;
}

/* The kernel was entered, or a call went the long way: is what Q says true again? */
static __attribute__((noinline)) int ready(void)
{
    if (T->depth)
        return 0;
    settle();
    uint64_t until_now = faults();
    if (Q.of) {
        uint64_t in = until_now - Q.faults + Q.next->faults, calls = S->syscalls - Q.syscalls + Q.next->syscalls;
        Q.next->faults = in < UINT32_MAX ? (uint32_t)in : UINT32_MAX;
        Q.next->syscalls = calls < UINT16_MAX ? (uint32_t)calls : UINT16_MAX;
    }
    Q.faults = until_now, Q.syscalls = S->syscalls, Q.entries = S->entries, Q.page = ALL, Q.registers = H.registers;
    return 1;
}

/* The call under way, if there is one, and all after it go the long way. */
static __attribute__((noinline, cold)) void lengthen(void)
{
    const traced *of = Q.of;
    hp_event *e = &T->frames[0].event;
    if (of) {
        ready();
        const note *n = Q.next;
        frame *f = &T->frames[0];
        f->sp = Q.sp, f->ret = Q.ret, f->faults = Q.faults - n->faults, f->syscalls = Q.syscalls - n->syscalls, f->out = 0;
        *e = (hp_event){.entry = n->entry, .size = allocates(of) ? n->argument : 0, .pointer = allocates(of) ? 0 : n->argument,
                        .site = n->site, .tid = (uint32_t)T->tid, .function = of->number, .kind = of->does.kind};
        Q.of = NULL;
        T->depth = 1;
    }
    settle_notes();
    if (of && e->pointer)
        release(block_at(e->pointer), e);
    Q.entries = ALL;
}

/* --- what happens at once --- */

/* `word` of the stack. */
static int top(uint64_t sp, uint64_t *value)
{
    if (!word(sp, value))
        return 0;
    if (region == sp >> 21 && !(sp & 7))
        Q.page = sp >> 12, Q.bytes = S->ram + (table[sp >> 12 & 511] & FRAME);
    return 1;
}

static inline void begin(const traced *t, uint64_t argument, uint64_t sp, uint64_t ret, uint32_t site)
{
    note *n = Q.next;
    n->argument = argument;
    n->of = t;
    n->faults = n->syscalls = 0;
    n->site = site;
    n->entry = now();
    Q.of = t, Q.sp = sp, Q.ret = ret;
}

/* 0: its stack cannot be read, or it releases what is not known to live. */
static int begin_anywhere(const traced *t)
{
    uint64_t sp = Q.registers[RSP], argument = Q.registers[t->argument], ret;
    if (!top(sp, &ret) || (!allocates(t) && argument && !take_mark(argument, t->does.family)))
        return 0;
    begin(t, argument, sp, ret, near_site(ret));
    return 1;
}

static inline int returns(uint64_t address) { return Q.ret == address && Q.sp + 8 == Q.registers[RSP]; }

/* A jump to a function that does the same, as in goes_on? */
static inline int goes_on_quickly(const traced *t)
{
    return Q.sp == Q.registers[RSP] && Q.next->entry + 1 == now() && t->alike == Q.of->alike &&
           Q.registers[t->argument] == Q.next->argument;
}

/* 0: it is nothing for here. */
static int quickly(uint64_t address, uint64_t watch)
{
    uint32_t function = (uint32_t)watch;
    if (Q.entries != S->entries && !ready())
        return 0;
    const traced *t = function ? &functions[function - 1] : NULL;
    if (Q.of) {
        if (!t && returns(address)) {
            note *n = Q.next++;
            n->end = now(), n->result = Q.registers[RAX];
            if (allocates(Q.of) && n->result)
                mark(n->result, Q.of->does.family);
            Q.of = NULL;
            if (Q.next == notes + NOTED - 1)
                settle_notes();
            return 1;
        }
        if (!(watch >> 32) && t->argument != QUICK_NONE && goes_on_quickly(t))
            return 1;
    } else if (!t || (t->argument != QUICK_NONE && begin_anywhere(t)))
        return 1; /* where there is no function, nobody comes back from one */
    lengthen();
    return 0;
}

/* hs_block.run of a return address and of the two kinds of functions: the same, where nothing is new. They call nothing, so
 * that they need not save registers. */

static int run_watched(uint32_t index);

static inline int cannot_run(const hs_block *b) { return S->left < b->count || Q.entries != S->entries; }

static inline int run(const hs_block *b, uint32_t index)
{
    S->left -= b->count;
    S->last = index;
    return 0;
}

static int run_return(uint32_t index)
{
    const hs_block *b = &S->blocks[index];
    const traced *t = Q.of;
    if (cannot_run(b))
        return run_watched(index);
    if (t) {
        note *n = Q.next;
        uint64_t result = Q.registers[RAX];
        if (!returns(b->address) || n == notes + NOTED - 2 || (allocates(t) && !try_mark(result, t->does.family)))
            return run_watched(index);
        n->end = now();
        n->result = result;
        if (allocates(t))
            __builtin_prefetch(home_of(result), 1);
        Q.next = n + 1;
        Q.of = NULL;
    }
    return run(b, index);
}

static inline __attribute__((always_inline)) int run_function(uint32_t index, int releases)
{
    const hs_block *b = &S->blocks[index];
    if (cannot_run(b))
        return run_watched(index);
    const traced *t = &functions[b->watch - 1];
    if (t->argument == QUICK_NONE) /* no more: see choose */
        return run_watched(index);
    if (Q.of)
        return goes_on_quickly(t) ? run(b, index) : run_watched(index);
    uint64_t sp = Q.registers[RSP], argument = Q.registers[t->argument], ret;
    if (sp >> 12 != Q.page || sp & 7)
        return run_watched(index);
    memcpy(&ret, Q.bytes + (sp & (PAGE - 1)), 8);
    if (near_sites[ret & 63].ret != ret || (releases && !take_mark(argument, t->does.family)))
        return run_watched(index);
    begin(t, argument, sp, ret, near_sites[ret & 63].site);
    if (releases)
        __builtin_prefetch(home_of(argument), 1); /* there when it is settled */
    return run(b, index);
}

static int run_allocate(uint32_t index) { return run_function(index, 0); }

static int run_release(uint32_t index) { return run_function(index, 1); }
