/* Entry and return of traced functions, and the table of blocks: equal in result to emu/cpu/pythoncalls.py, which says
 * why. hooks.c calls in at the beginning of each block that `hp_watched` holds for, before it is counted. */
#include "heap.h"
#include "hooks.h"

#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

#define HASH 0x9E3779B97F4A7C15ull
#define ALL (~0ull)
#define MANY_DEAD (1u << 20)
#define PFN 0x000FFFFFFFFFF000ull
enum { RAX = 0, RBP = 5, RSP = 4 }; /* in the CPU's order */
enum { MIN_FLT = 4, MAJ_FLT = 5 };

typedef struct {
    uint64_t address;
    uint32_t function, site; /* function: its index and one; 0: none */
} watch;

typedef struct {
    uint64_t sp, ret, out, faults, syscalls;
    hp_event event;
} frame;

typedef struct {
    uint32_t tid, depth;
    frame frames[HP_DEEPEST];
} thread;

enum { DEAD, THEIRS, LIVE }; /* THEIRS: made inside another traced call */

typedef struct {
    uint64_t pointer;
    uint32_t block, state; /* block: its index and one; 0: empty */
} slot;

static hs_state *S;
static hp_state H;
static hp_function *functions;
static size_t functions_used;
static watch *watches;
static uint64_t watches_mask, watches_used;
static thread **threads, *T;
static size_t threads_used;
static uint32_t *rule_map, *stack_map;
static uint64_t rule_mask, stack_mask;
static slot *slots;
static uint64_t slots_mask, dead;

/* --- small things ------------------------------------------------------------------------------------------------- */

static uint64_t reg(int n)
{
    static const int ids[] = {35, 38, 40, 37, 44, 36, 43, 39, 106, 107, 108, 109, 110, 111, 112, 113};
    uint64_t value = 0;
    if (H.registers)
        return H.registers[n];
    S->reg_read(S->uc, ids[n], &value);
    return value;
}

static uint64_t argument(int n)
{
    static const int order[] = {7, 6, 2, 1, 8, 9}; /* rdi rsi rdx rcx r8 r9 */
    return reg(order[n]);
}


/* A word of guest memory. The page table of the last 2 MiB region is kept: only a syscall can take it away, or another
 * run's RAM. */
static uint64_t region, calls, root, *table;

static int word(uint64_t va, uint64_t *value)
{
    if (va >= 1ull << 47 || (va & 4095) > 4088)
        return va < 1ull << 47 && hs_read_guest(va, value, 8) == 8;
    if (va >> 21 != region || calls != S->syscalls + 1 || root != S->cr3) {
        table = hs_page_table(va);
        region = va >> 21, calls = S->syscalls + 1, root = S->cr3;
        if (!table)
            region = ALL;
    }
    uint64_t pte = table ? table[va >> 12 & 511] : 0, pa = pte & PFN;
    if (!(pte & 1) || pa + 4096 > S->ram_size)
        return 0;
    memcpy(value, S->ram + pa + (va & 4095), 8);
    return 1;
}


static uint64_t now(void) { return (uint64_t)(S->limit - S->left); }
static uint64_t faults(void) { return H.mm_counters ? H.mm_counters[MIN_FLT] + H.mm_counters[MAJ_FLT] : 0; }

/* --- which addresses are watched ------------------------------------------------------------------------------------ */

static watch *watch_slot(uint64_t address)
{
    uint64_t i = address * HASH >> 32;
    while (watches[i & watches_mask].address && watches[i & watches_mask].address != address)
        i++;
    return &watches[i & watches_mask];
}

static watch *watch_at(uint64_t address)
{
    if (2 * watches_used > watches_mask) {
        watch *old = watches;
        uint64_t n = watches_mask + 1;
        watches_mask = 2 * n - 1;
        watches = calloc(2 * n, sizeof *watches);
        for (uint64_t i = 0; i < n; i++)
            if (old[i].address)
                *watch_slot(old[i].address) = old[i];
        free(old);
    }
    watch *w = watch_slot(address);
    watches_used += !w->address;
    w->address = address;
    return w;
}

EXPORT int hp_watched(uint64_t address) { return watch_slot(address)->address != 0; }

/* The number of a return address; a new one is watched from now on. */
static uint32_t site_of(uint64_t ret)
{
    watch *w = watch_slot(ret);
    if (w->address && w->site)
        return w->site;
    w = watch_at(ret);
    if (!(H.sites_used & (H.sites_used - 1)))
        H.sites = realloc(H.sites, 2 * H.sites_used * sizeof *H.sites);
    H.sites[H.sites_used] = ret;
    w->site = (uint32_t)H.sites_used++;
    hs_watch(ret);
    return w->site;
}

/* --- the table of blocks: slots by address, small enough to stay near, and behind them what is told of each -------- */

static slot *slot_at(uint64_t pointer)
{
    uint64_t i = pointer * HASH >> 24;
    while (slots[i & slots_mask].block && slots[i & slots_mask].pointer != pointer)
        i++;
    return &slots[i & slots_mask];
}

/* Make room; where more than a million dead blocks are the greater part, they are forgotten. */
static void grow_blocks(uint64_t wanted)
{
    int forget = dead > MANY_DEAD && 2 * dead > wanted;
    uint64_t n = H.blocks_used, kept = 0;
    if (!forget) {
        slots_mask = 2 * slots_mask + 1;
        H.blocks = realloc(H.blocks, (slots_mask + 1) * sizeof *H.blocks);
    }
    free(slots);
    slots = calloc(slots_mask + 1, sizeof *slots);
    dead = 0;
    for (uint64_t i = 0; i < n; i++) {
        const hp_block *b = &H.blocks[i];
        if (forget && b->freed_at)
            continue;
        H.blocks[kept++] = *b;
        *slot_at(b->pointer) = (slot){b->pointer, (uint32_t)kept, b->freed_at ? DEAD : b->inner ? THEIRS : LIVE};
        dead += b->freed_at != 0;
    }
    H.blocks_used = kept;
}

static void insert(hp_event *e)
{
    slot *s = slot_at(e->result);
    int inner = e->flags & HP_INNER;
    if (s->block && s->state == LIVE) {
        if (inner)
            return; /* the call around it is about to release or to resize this one */
        e->flags |= HP_OVERLAPS;
        e->freed += H.blocks[s->block - 1].size;
    }
    if (s->block)
        dead -= s->state == DEAD;
    else {
        if (3 * (H.blocks_used + 1) > 2 * slots_mask) {
            grow_blocks(H.blocks_used + 1);
            s = slot_at(e->result);
        }
        *s = (slot){e->result, (uint32_t)++H.blocks_used, LIVE};
    }
    s->state = inner ? THEIRS : LIVE;
    H.blocks[s->block - 1] = (hp_block){e->result, e->size, H.drained + H.used + 1, 0, e->site, e->stack, 0, 0,
                                        e->function, 0, functions[e->function].family, (uint8_t)inner, 1, {0}};
}

static void release(slot *s, hp_event *e)
{
    hp_block *b = &H.blocks[s->block - 1];
    if (s->state == LIVE) {
        e->born = b->born;
        e->freed += b->size;
    }
    s->state = DEAD;
    b->freed_at = e->entry;
    b->freed_site = e->site;
    b->freed_stack = e->stack;
    b->freed_function = e->function;
    dead++;
}

/* A call of the program that names a block: is it one it may name? Before the allocator does anything. */
static slot *check(hp_event *e, const hp_function *f)
{
    slot *s = slot_at(e->pointer);
    const hp_block *b = s->block ? &H.blocks[s->block - 1] : NULL;
    if (!b)
        e->flags |= HP_NO_BLOCK;
    else if (s->state == DEAD)
        e->flags |= HP_FREED_TWICE;
    else {
        if (!(b->family & f->family))
            e->flags |= HP_MISMATCHED;
        if (f->options & HP_EXACT_SIZE && b->size != e->size)
            e->flags |= HP_WRONG_SIZE;
    }
    if (e->flags & HP_MISUSE)
        H.on_misuse(e, b);
    return e->flags & (HP_NO_BLOCK | HP_FREED_TWICE) ? NULL : s;
}

/* What an allocator releases inside another of its functions was its own, or is the outer call's business. */
static void release_inner(hp_event *e)
{
    slot *s = slot_at(e->pointer);
    if (s->block && s->state == THEIRS)
        release(s, e);
}

/* --- call stacks -------------------------------------------------------------------------------------------------- */

static uint32_t rule_slot(uint64_t pc)
{
    uint64_t i = pc * HASH >> 32;
    while (rule_map[i & rule_mask] && H.rules[rule_map[i & rule_mask]].pc != pc)
        i++;
    return (uint32_t)(i & rule_mask);
}

static uint32_t rule_at(uint64_t pc)
{
    uint32_t at = rule_slot(pc);
    if (rule_map[at])
        return rule_map[at];
    if (!(H.rules_used & (H.rules_used - 1))) {
        H.rules = realloc(H.rules, 2 * H.rules_used * sizeof *H.rules);
        free(rule_map);
        rule_mask = 4 * H.rules_used - 1;
        rule_map = calloc(rule_mask + 1, sizeof *rule_map);
        for (uint32_t i = 1; i < H.rules_used; i++)
            rule_map[rule_slot(H.rules[i].pc)] = i;
        at = rule_slot(pc);
    }
    hp_rule rule = {.pc = pc};
    H.on_pc(pc, &rule);
    H.rules[H.rules_used] = rule;
    return rule_map[at] = (uint32_t)H.rules_used++;
}

static uint64_t stack_hash(const uint32_t *numbers, uint64_t n)
{
    uint64_t hash = n;
    for (uint64_t i = 0; i < n; i++)
        hash = (hash ^ numbers[i]) * HASH, hash ^= hash >> 29;
    return hash >> 16;
}

static uint32_t stack_slot(const uint32_t *numbers, uint64_t n)
{
    for (uint64_t i = stack_hash(numbers, n);; i++) {
        uint32_t at = (uint32_t)(i & stack_mask), known = stack_map[at];
        if (!known)
            return at;
        uint64_t key = H.stacks[known];
        if ((key & 255) == n && !memcmp(H.frames + (key >> 8), numbers, n * sizeof *numbers))
            return at;
    }
}

static uint32_t intern(const uint32_t *numbers, uint64_t n)
{
    uint32_t at = stack_slot(numbers, n);
    if (stack_map[at])
        return stack_map[at];
    if (!(H.stacks_used & (H.stacks_used - 1))) {
        H.stacks = realloc(H.stacks, 2 * H.stacks_used * sizeof *H.stacks);
        H.frames = realloc(H.frames, 2 * H.stacks_used * HP_FRAMES * sizeof *H.frames);
        free(stack_map);
        stack_mask = 4 * H.stacks_used - 1;
        stack_map = calloc(stack_mask + 1, sizeof *stack_map);
        for (uint32_t i = 1; i < H.stacks_used; i++)
            stack_map[stack_slot(H.frames + (H.stacks[i] >> 8), H.stacks[i] & 255)] = i;
        at = stack_slot(numbers, n);
    }
    memcpy(H.frames + H.frames_used, numbers, n * sizeof *numbers);
    H.stacks[H.stacks_used] = H.frames_used << 8 | n;
    H.frames_used += n;
    return stack_map[at] = (uint32_t)H.stacks_used++;
}

/* The call stack of a function entered at `sp`, from its call site outwards. */
static void take_stack(hp_event *e, uint64_t sp, uint64_t ret)
{
    uint32_t numbers[HP_FRAMES];
    uint64_t n = 0, pc = ret, rbp = reg(RBP), at = sp + 8;
    while (n < H.stack_depth) {
        uint32_t number = rule_at(pc);
        const hp_rule *rule = &H.rules[number];
        numbers[n++] = number;
        if (rule->how != HP_GOES_ON) {
            e->flags |= rule->how == HP_NOTHING_TELLS ? HP_CUT : 0;
            break;
        }
        uint64_t cfa = (rule->by_rbp ? rbp : at) + (uint64_t)(int64_t)rule->cfa;
        if (cfa <= at || !word(cfa - 8, &pc) || (rule->rbp && !word(cfa + (uint64_t)(int64_t)rule->rbp, &rbp))) {
            e->flags |= HP_CUT;
            break;
        }
        at = cfa;
    }
    e->stack = intern(numbers, n);
}

/* --- calls and returns ---------------------------------------------------------------------------------------------- */

/* --- the totals: HeapFold.batch of emu/analysis/heap.py, for one event ---------------------------------------------- */

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

static void count_cost(unsigned group, unsigned class, uint32_t cost)
{
    if (cost < HP_SMALL) {
        H.totals->costs[group][class][cost]++;
        return;
    }
    uint64_t key = (uint64_t)cost | (uint64_t)class << 32 | (uint64_t)group << 40 | 1ull << 63;
    uint64_t *at = dear_slot(key);
    if (!at[0] && 2 * ++H.dear_used > H.dear_mask) {
        uint64_t *old = H.dear, n = H.dear_mask + 1;
        H.dear_mask = 2 * n - 1;
        H.dear = calloc(4 * n, sizeof *H.dear);
        for (uint64_t i = 0; i < n; i++)
            if (old[2 * i])
                memcpy(dear_slot(old[2 * i]), old + 2 * i, 2 * sizeof *old);
        free(old);
        at = dear_slot(key);
    }
    at[0] = key;
    at[1]++;
}

static void count_place(uint64_t place, uint64_t size)
{
    if (place >= H.places_size) {
        uint64_t n = place | 1023;
        H.places = realloc(H.places, 2 * (n + 1) * sizeof *H.places);
        memset(H.places + 2 * H.places_size, 0, 2 * (n + 1 - H.places_size) * sizeof *H.places);
        H.places_size = n + 1;
    }
    H.places[2 * place]++;
    H.places[2 * place + 1] += size;
}

static void count(const hp_event *e, unsigned verb)
{
    hp_totals *t = H.totals;
    int returned = !(e->flags & (HP_ABANDONED | HP_UNFINISHED));
    t->events++;
    t->misused += (e->flags & HP_MISUSE) != 0;
    t->overlaps += (e->flags & HP_OVERLAPS) != 0;
    if (e->flags & HP_INNER) {
        t->inner++;
        return;
    }
    t->calls[e->kind]++;
    t->unreturned += !returned;
    int wanted = verb == HP_ALLOCATE || verb == HP_RESIZE, made = wanted && e->result;
    t->failed += wanted && !made && returned && e->size;
    unsigned class = size_class(made ? e->size : e->freed);
    if (made) {
        t->allocated += e->size;
        t->sizes[class]++;
        count_place(H.stack_depth ? e->stack : e->site, e->size);
    }
    t->freed += e->freed;
    t->live += (int64_t)((made ? e->size : 0) - e->freed);
    t->live_blocks += made - (e->born != 0);
    if (t->live > t->peak) {
        t->peak = t->live;
        t->peak_blocks = t->live_blocks;
        t->peak_event = t->events;
        t->peak_instructions = e->entry + e->cost;
    }
    if (returned && (wanted || verb == HP_RELEASE)) {
        unsigned group = !wanted;
        t->faults[group] += e->faults;
        t->syscalls[group] += e->syscalls;
        count_cost(group, class, e->cost);
    }
}

static void append(const hp_event *e)
{
    count(e, functions[e->function].verb);
    H.ring[H.used++] = *e;
    if (H.used == H.capacity) {
        H.on_full();
        H.drained += H.used;
        H.used = 0;
    }
}

static void leave(frame *f, uint16_t how)
{
    uint64_t cost = now() - f->event.entry, in = faults() - f->faults, calls = S->syscalls - f->syscalls;
    f->event.flags |= how;
    f->event.cost = how & HP_ABANDONED ? 0 : cost < UINT32_MAX ? (uint32_t)cost : UINT32_MAX;
    f->event.faults = how & HP_ABANDONED ? 0 : in < UINT32_MAX ? (uint32_t)in : UINT32_MAX;
    f->event.syscalls = how & HP_ABANDONED ? 0 : calls < UINT16_MAX ? (uint16_t)calls : UINT16_MAX;
}

static void finish(frame *f)
{
    hp_event *e = &f->event;
    const hp_function *fn = &functions[e->function];
    uint64_t rax = reg(RAX);
    leave(f, 0);
    if (fn->out >= 0)
        rax = (uint32_t)rax == 0 && word(f->out, &rax) ? rax : 0;
    if (fn->verb != HP_RELEASE)
        e->result = rax;
    if (fn->verb == HP_RESIZE && e->pointer && !(e->flags & HP_INNER) && (e->result || !e->size)) {
        slot *s = slot_at(e->pointer);
        if (s->block && s->state != DEAD)
            release(s, e);
    }
    if ((fn->verb == HP_ALLOCATE || fn->verb == HP_RESIZE) && e->result)
        insert(e);
    append(e);
}

static void abandon(uint32_t depth)
{
    while (T->depth > depth) {
        frame *f = &T->frames[--T->depth];
        leave(f, HP_ABANDONED);
        append(&f->event);
    }
}

static void returned(uint64_t address, uint64_t sp)
{
    while (T->depth) {
        frame *f = &T->frames[T->depth - 1];
        if (f->sp + 8 > sp)
            return; /* still inside */
        if (f->sp + 8 == sp && f->ret == address) {
            T->depth--;
            finish(f);
        } else
            abandon(T->depth - 1);
    }
}

/* Calls that were left without a return: their stack is gone, or another return address stands in their place. */
static int still_inside(uint64_t sp, uint64_t ret, uint32_t function)
{
    for (uint32_t i = 0; i < T->depth; i++) {
        const frame *f = &T->frames[i];
        uint64_t there = 0;
        if (f->sp == sp && f->ret == ret && f->event.function == function && f->event.entry == now())
            return 1; /* its first instruction faulted, and begins again */
        if (f->sp < sp || (f->sp == sp && f->event.function == function) || !word(f->sp, &there) || there != f->ret) {
            abandon(i);
            return 0;
        }
    }
    return 0;
}

static void entered(uint32_t function, uint64_t sp)
{
    const hp_function *fn = &functions[function];
    uint64_t ret;
    if (fn->pointer >= 0) /* needed in a moment, and seldom near */
        __builtin_prefetch(&slots[(argument(fn->pointer) * HASH >> 24) & slots_mask], 1);
    if (!word(sp, &ret)) {
        H.lost++;
        return;
    }
    if (T->depth && still_inside(sp, ret, function))
        return;
    if (T->depth == HP_DEEPEST) {
        H.lost++;
        return;
    }
    frame *f = &T->frames[T->depth];
    hp_event *e = &f->event;
    memset(f, 0, sizeof *f);
    f->sp = sp;
    f->ret = ret;
    f->faults = faults();
    f->syscalls = S->syscalls;
    f->out = fn->out >= 0 ? argument(fn->out) : 0;
    e->entry = now();
    e->function = (uint16_t)function;
    e->kind = fn->kind;
    e->tid = H.tid;
    e->depth = (uint8_t)T->depth;
    e->flags = !T->depth ? 0 : f[-1].sp == sp ? HP_INNER | HP_TAIL : HP_INNER;
    e->site = site_of(ret);
    e->size = fn->size >= 0 ? argument(fn->size) : 0;
    if (fn->count >= 0 && __builtin_mul_overflow(e->size, argument(fn->count), &e->size))
        e->size = ALL;
    e->pointer = fn->pointer >= 0 ? argument(fn->pointer) : 0;
    if (fn->alignment >= 0) {
        uint64_t alignment = argument(fn->alignment);
        if (fn->options & HP_LOG2)
            alignment = alignment & 63 ? 1ull << (alignment & 63) : 0;
        e->alignment = alignment < UINT32_MAX ? (uint32_t)alignment : UINT32_MAX;
    }
    T->depth++;
    if (H.stack_depth && !(e->flags & HP_INNER))
        take_stack(e, sp, ret);
    if (e->pointer && fn->verb != HP_ASK) {
        if (e->flags & HP_INNER) {
            if (fn->verb == HP_RELEASE)
                release_inner(e);
        } else {
            slot *s = check(e, fn);
            if (s && fn->verb == HP_RELEASE)
                release(s, e);
        }
    }
}

/* The CPU is about to run the watched block at `address`. */
EXPORT void hp_reached(uint64_t address)
{
    watch w = *watch_slot(address);
    if (!w.address || S->cr3 != H.cr3)
        return;
    uint64_t sp = reg(RSP);
    if (w.site)
        returned(address, sp);
    if (w.function)
        entered(w.function - 1, sp);
}

/* --- its Python side ------------------------------------------------------------------------------------------------- */

/* Everything anew. */
EXPORT hp_state *hp_init(hs_state *state)
{
    for (size_t i = 0; i < threads_used; i++)
        free(threads[i]);
    free(H.totals), free(H.places), free(H.dear);
    free(slots), free(H.blocks), free(H.sites), free(H.stacks), free(H.frames), free(H.rules);
    free(watches), free(functions), free(rule_map), free(stack_map);
    threads_used = functions_used = watches_used = 0;
    functions = NULL;
    memset(&H, 0, sizeof H);
    S = state;
    region = ALL;
    watches_mask = 255, watches = calloc(256, sizeof *watches);
    slots_mask = 4095, slots = calloc(4096, sizeof *slots);
    H.blocks = calloc(4096, sizeof *H.blocks);
    dead = 0;
    H.sites_used = H.stacks_used = H.rules_used = 1;
    H.sites = calloc(1, sizeof *H.sites);
    H.stacks = calloc(1, sizeof *H.stacks);
    H.rules = calloc(1, sizeof *H.rules);
    H.frames = NULL;
    H.totals = calloc(1, sizeof *H.totals);
    H.dear_mask = 255, H.dear = calloc(512, sizeof *H.dear);
    rule_mask = stack_mask = 0;
    rule_map = calloc(1, sizeof *rule_map);
    stack_map = calloc(1, sizeof *stack_map);
    return &H;
}

/* Trace the function at `address`. */
EXPORT void hp_add(uint64_t address, const hp_function *function)
{
    functions = realloc(functions, (functions_used + 1) * sizeof *functions);
    functions[functions_used++] = *function;
    watch_at(address)->function = (uint32_t)functions_used;
    hs_watch(address);
}

/* `tid` runs now. */
EXPORT void hp_switch(uint32_t tid)
{
    H.tid = tid;
    for (size_t i = 0; i < threads_used; i++)
        if (threads[i]->tid == tid) {
            T = threads[i];
            return;
        }
    threads = realloc(threads, (threads_used + 1) * sizeof *threads);
    T = threads[threads_used++] = calloc(1, sizeof *T);
    T->tid = tid;
}

/* Is the thread that runs inside a traced function? One that was left without a return is not. */
EXPORT int hp_inside(void)
{
    uint64_t there;
    return T->depth && T->frames[0].sp >= reg(RSP) && word(T->frames[0].sp, &there) && there == T->frames[0].ret;
}

/* The run has ended: what is still inside is written too. */
EXPORT void hp_end(void)
{
    for (size_t i = 0; i < threads_used; i++)
        while (threads[i]->depth) {
            frame *f = &threads[i]->frames[--threads[i]->depth];
            leave(f, HP_UNFINISHED);
            append(&f->event);
        }
}
