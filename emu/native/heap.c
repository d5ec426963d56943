/* Entry and return of traced functions, and the table of blocks: equal in result to emu/cpu/pythoncalls.py, which says
 * why. hooks.c calls in at the beginning of each block that `hp_watched` holds for, before it is counted. */
#include "heap.h"
#include "hooks.h"
#include "memcheck.h"
#include "strict.h"

#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

enum { RAX = 0, RBP = 5, RSP = 4 }; /* in the CPU's order */
enum { MIN_FLT = 4, MAJ_FLT = 5 };

typedef struct {
    uint64_t address;
    uint32_t function, site; /* function: its index and one; 0: none */
} watch;

typedef struct {
    hp_function does;
    uint32_t alike; /* index and one of the first function that does the same by size and pointer alone; 0: not so simple */
    uint16_t number; /* its index */
    uint8_t argument; /* heap_quick.h knows its kind: the register of its size or pointer; QUICK_NONE: it does not */
} traced;

typedef struct { /* 128 bytes */
    uint64_t sp, ret, out, faults, syscalls, pool; /* pool: the argument, where there is one */
    hp_event event;
} frame;

typedef struct {
    uint64_t tid, depth;
    uint64_t pool; /* that plain calls allocate from; 0: its first one */
    frame frames[HP_DEEPEST];
    st_kept kept; /* of the outermost */
} thread;

static hs_state *S;
static hp_state H;
static traced *functions;
static size_t functions_used;
static watch *watches;
static uint64_t watches_mask, watches_used;
static thread **threads, *T;
static size_t threads_used;

/* --- small things ------------------------------------------------------------------------------------------------- */

/* `n` times `size` bytes of `old`'s, which grows; NULL: there is no memory for it, `old` stays, and tracing ends here. */
static void *longer(void *old, uint64_t n, size_t size)
{
    void *new = n > H.most / size ? NULL : realloc(old, n * size);
    if (!new)
        H.stopped = 1, H.cr3 = ALL;
    return new;
}

static void *zeroes(uint64_t n, size_t size)
{
    void *new = n > H.most / size ? NULL : calloc(n, size);
    if (!new)
        H.stopped = 1, H.cr3 = ALL;
    return new;
}

/* The CPU's integer registers: its own, or a copy that was asked for. */
static const uint64_t *R;

static const uint64_t *ask(void)
{
    static const int ids[] = {35, 38, 40, 37, 44, 36, 43, 39, 106, 107, 108, 109, 110, 111, 112, 113};
    static uint64_t copy[16];
    for (int i = 0; i < 16; i++)
        S->reg_read(S->uc, ids[i], &copy[i]);
    return copy;
}

static const uint8_t arguments[] = {7, 6, 2, 1, 8, 9}; /* rdi rsi rdx rcx r8 r9 */

static uint64_t argument(int n) { return R[arguments[n]]; }

/* A word of guest memory. The page table of the last 2 MiB region is kept: only a syscall can take it away, or another
 * run's RAM. */
static uint64_t region, calls, root, *table;

static __attribute__((noinline)) int word_afar(uint64_t va, uint64_t *value)
{
    if (va >= 1ull << 47)
        return 0;
    table = hs_page_table(va);
    region = table ? va >> 21 : ALL, calls = S->syscalls, root = S->cr3;
    return hs_read_guest(va, value, 8) == 8;
}

static inline int word(uint64_t va, uint64_t *value)
{
    if (va >> 21 != region || calls != S->syscalls || root != S->cr3 || (va & 4095) > 4088)
        return word_afar(va, value);
    uint64_t pte = table[va >> 12 & 511], pa = pte & FRAME;
    if (!(pte & PRESENT) || pa + PAGE > S->ram_size)
        return 0;
    memcpy(value, S->ram + pa + (va & 4095), 8);
    return 1;
}

static uint64_t now(void) { return (uint64_t)(S->limit - S->left); }
static uint64_t faults(void) { return H.mm_counters ? H.mm_counters[MIN_FLT] + H.mm_counters[MAJ_FLT] : 0; }

/* --- which addresses are watched ------------------------------------------------------------------------------------ */

static int taken(const watch *w) { return (w->function | w->site) != 0; }

static watch *watch_slot(uint64_t address)
{
    uint64_t i = address * HASH >> 32;
    while (taken(&watches[i & watches_mask]) && watches[i & watches_mask].address != address)
        i++;
    return &watches[i & watches_mask];
}

/* Its place, to be taken by the caller; NULL: there is no memory for one more. */
static watch *watch_at(uint64_t address)
{
    if (2 * watches_used > watches_mask) {
        watch *old = watches, *new = zeroes(2 * (watches_mask + 1), sizeof *new);
        if (!new)
            return NULL;
        uint64_t n = watches_mask + 1;
        watches = new, watches_mask = 2 * n - 1;
        for (uint64_t i = 0; i < n; i++)
            if (taken(&old[i]))
                *watch_slot(old[i].address) = old[i];
        free(old);
    }
    watch *w = watch_slot(address);
    watches_used += !taken(w);
    w->address = address;
    return w;
}

/* Its function and site as one word; 0: it is not watched. */
static uint64_t watch_of(uint64_t address)
{
    const watch *w = watch_slot(address);
    return (uint64_t)w->site << 32 | w->function;
}

/* The number of a return address; a new one is watched from now on. 0: there is no memory for it. */
static uint32_t site_of(uint64_t ret)
{
    watch *w = watch_slot(ret);
    if (w->site)
        return w->site;
    if (!(H.sites_used & (H.sites_used - 1))) {
        uint64_t *sites = longer(H.sites, 2 * H.sites_used, sizeof *sites);
        if (!sites)
            return 0;
        H.sites = sites;
    }
    if (!(w = watch_at(ret)))
        return 0;
    H.sites[H.sites_used] = ret;
    w->site = (uint32_t)H.sites_used++;
    hs_watch(ret);
    return w->site;
}

/* The last ones, by the low bits of their address. */
static struct {
    uint64_t ret;
    uint32_t site;
} near_sites[64];

static void forget_near_sites(void)
{
    memset(near_sites, 0, sizeof near_sites);
    near_sites[0].ret = 1; /* 0 is an address that belongs there */
}

static inline uint32_t near_site(uint64_t ret)
{
    uint32_t slot = ret & 63;
    if (near_sites[slot].ret != ret)
        near_sites[slot].site = site_of(near_sites[slot].ret = ret);
    return near_sites[slot].site;
}

#include "heap_marks.h"
#include "heap_blocks.h"
#include "heap_stacks.h"
#include "heap_totals.h"

/* --- calls and returns ---------------------------------------------------------------------------------------------- */

/* The event of the call that ended last. It is settled when the next thing happens: by then the line of its block, which
 * is often far away, has come. Until then it stays where it was made, in its frame. */
static hp_event *last;
static int made;

/* It counts, and whoever takes the events has it. */
static inline __attribute__((always_inline)) void tell(const hp_event *e, unsigned verb)
{
    count(e, verb, e->flags);
    if (!H.ring)
        return;
    H.ring[H.used++] = *e;
    if (H.used == H.capacity) {
        H.on_full();
        H.used = 0;
    }
}

static void settle_last(void)
{
    hp_event *e = last;
    last = NULL;
    H.events++;
    const hp_function *does = &functions[e->function].does;
    if (made) {
        insert(e, does->family);
        if (H.quick && !(e->flags & HP_INNER))
            mark(e->result, does->family);
    }
    tell(e, does->verb < HP_SWEEP ? does->verb : HP_RELEASE);
}

static inline void settle(void)
{
    if (last)
        settle_last();
}

/* What the call took, by where the counters stood when it began. */
static inline void measure(hp_event *e, uint64_t faults_before, uint64_t syscalls_before)
{
    uint64_t cost = now() - e->entry, in = faults() - faults_before, calls = S->syscalls - syscalls_before;
    e->cost = cost < UINT32_MAX ? (uint32_t)cost : UINT32_MAX;
    e->faults = in < UINT32_MAX ? (uint32_t)in : UINT32_MAX;
    e->syscalls = calls < UINT16_MAX ? (uint16_t)calls : UINT16_MAX;
}

/* A call has ended: what is not known of it from its beginning. */
static void leave(frame *f, uint16_t how)
{
    settle();
    hp_event *e = last = &f->event;
    made = 0;
    e->flags |= how;
    if (!(how & HP_ABANDONED))
        measure(e, f->faults, f->syscalls);
}

/* With memcheck a block is known before the next instruction. Who asks for the usable size of one may use it. */
static void shadow(hp_event *e)
{
    settle();
    const hp_block *b = functions[e->function].does.verb == HP_ASK && !(e->flags & HP_INNER) ? block_at(e->pointer) : NULL;
    if (b && lives(b) && !b->inner && b->size < e->result)
        mc_asked(e->pointer, b->size, e->result, e->function);
}

/* The block that it names is gone by it. */
static inline int ends_block(const hp_function *does) { return does->verb == HP_RELEASE || does->verb >= HP_SWEEP; }

static __attribute__((noinline)) void finish(frame *f)
{
    hp_event *e = &f->event;
    const hp_function *does = &functions[e->function].does;
    leave(f, 0);
    if (ends_block(does))
        return;
    uint64_t result = R[RAX];
    if (does->out >= 0)
        result = (uint32_t)result == 0 && word(f->out, &result) ? result : 0;
    if (does->options & HP_IN_PLACE)
        result = result >= e->size ? e->pointer : 0;
    e->result = result;
    uint64_t pool = does->pool >= 0 ? f->pool : does->pool == HP_DEFAULT_POOL ? T->pool : 0;
    int gone = result || !e->size || does->options & HP_FREES_FAILED;
    if (does->verb == HP_RESIZE && e->pointer && !(e->flags & HP_INNER) && gone) {
        hp_block *b = block_at(e->pointer);
        if (lives(b)) {
            if (mc_on && result)
                mc_keep(b->pointer, b->size);
            if (result == e->pointer)
                pool = b->pool;
            release(b, e);
        }
    }
    if (does->verb != HP_ASK && result) {
        __builtin_prefetch(home_of(result), 1);
        made = 1;
        made_in = pool;
    }
    if (H.strict && !(e->flags & HP_INNER))
        st_returned(e, does, &T->kept, R[RAX]);
    if (mc_on)
        shadow(e);
}

static void abandon(uint32_t depth)
{
    while (T->depth > depth)
        leave(&T->frames[--T->depth], HP_ABANDONED);
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

/* Was the innermost function nothing but a jump to this one, which is told the same and does the same? Then it is one
 * call: musl's free is such a jump. */
static inline int goes_on(const traced *t, uint64_t sp)
{
    const frame *f = &T->frames[T->depth - 1];
    const hp_function *does = &t->does;
    return f->sp == sp && f->event.entry + 1 == now() && t->alike && t->alike == functions[f->event.function].alike &&
           (does->size < 0 || argument(does->size) == f->event.size) &&
           (does->pointer < 0 || argument(does->pointer) == f->event.pointer);
}

static inline uint32_t alignment_of(const hp_function *does)
{
    uint64_t alignment = argument(does->alignment);
    if (does->options & HP_LOG2)
        alignment = alignment & 63 ? 1ull << (alignment & 63) : 0;
    return alignment < UINT32_MAX ? (uint32_t)alignment : UINT32_MAX;
}

/* The call names a block. */
static void name(hp_event *e, const hp_function *does)
{
    if (e->flags & HP_INNER) {
        if (ends_block(does))
            release_inner(e);
        return;
    }
    hp_block *b = check(e, does);
    if (b && ends_block(does))
        release(b, e);
}

/* All that is in a pool is released, by a call that has just been entered. */
static void sweep(uint64_t key, const hp_event *by)
{
    pool *p = pool_at(key);
    if (!p)
        return;
    for (uint64_t i = 0; i < p->used; i++) {
        hp_block *b = still(&p->members[i]);
        if (!b)
            continue;
        hp_event e = {.entry = by->entry, .pointer = b->pointer, .site = by->site, .stack = by->stack, .tid = by->tid,
                      .function = by->function, .depth = by->depth};
        release(b, &e);
        if (b->inner)
            continue;
        H.events++;
        tell(&e, HP_ASK);
    }
    empty(p);
}

/* The call is told a pool, which is gone when it returns; one that is none, or no more, was told already. */
static void end_pool(uint64_t key, const hp_event *by, int sweeps)
{
    if (!key || by->flags & (HP_NO_BLOCK | HP_FREED_TWICE))
        return;
    if (T->pool == key)
        T->pool = 0;
    if (sweeps)
        sweep(key, by);
    else
        merge_pool(key);
}

static void choose(uint64_t key);

static __attribute__((noinline)) void entered(uint32_t function, uint64_t sp)
{
    const hp_function *does = &functions[function].does;
    if (does->verb == HP_CHOOSE) {
        choose(argument(does->pool));
        return;
    }
    uint64_t pointer = does->pointer >= 0 ? argument(does->pointer) : 0, ret;
    __builtin_prefetch(home_of(pointer), 1);
    settle();
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
    uint16_t flags = !T->depth ? 0 : f[-1].sp == sp ? HP_INNER | HP_TAIL : HP_INNER;
    uint64_t size = does->size >= 0 ? argument(does->size) : 0;
    if (does->count >= 0 && __builtin_mul_overflow(size, argument(does->count), &size))
        size = ALL;
    settle(); /* it may be in this frame */
    f->sp = sp;
    f->ret = ret;
    f->faults = faults();
    f->syscalls = S->syscalls;
    f->out = does->out >= 0 ? argument(does->out) : 0;
    f->pool = does->pool >= 0 ? argument(does->pool) : 0;
    f->event = (hp_event){.entry = now(), .size = size, .pointer = pointer, .site = near_site(ret), .tid = H.tid,
                          .alignment = does->alignment >= 0 ? alignment_of(does) : 0, .function = (uint16_t)function, .kind = does->kind,
                          .depth = (uint8_t)T->depth, .flags = flags};
    T->depth++;
    if (H.stack_depth && !flags)
        take_stack(&f->event, sp, ret);
    if (pointer && does->verb != HP_ASK)
        name(&f->event, does);
    if (does->verb >= HP_SWEEP)
        end_pool(f->pool, &f->event, does->verb == HP_SWEEP);
    if (H.strict && !flags)
        st_entered(&f->event, does, &T->kept, does->options & HP_LOG2 ? argument(does->alignment) : 0);
}

static __attribute__((noinline)) void at_block(uint64_t address, uint64_t watch)
{
    R = H.registers ? H.registers : ask();
    uint64_t sp = R[RSP];
    if (watch >> 32 && T->depth)
        returned(address, sp);
    uint32_t function = (uint32_t)watch;
    if (function && !(T->depth && goes_on(&functions[function - 1], sp)))
        entered(function - 1, sp);
}

#include "heap_quick.h"

/* Calls that do not say so allocate from this pool now: none of these is quick any more. */
static void choose(uint64_t key)
{
    if (!key)
        return;
    T->pool = key;
    for (size_t i = 0; i < functions_used; i++)
        if (functions[i].does.pool == HP_DEFAULT_POOL)
            functions[i].argument = QUICK_NONE;
}

/* The CPU is about to run the watched block at `address`. */
static void at_watched(uint64_t address, uint64_t watch)
{
    if (S->cr3 != H.cr3)
        return;
    if (!H.quick || mc_on || !quickly(address, watch))
        at_block(address, watch);
}

EXPORT void hp_reached(uint64_t address)
{
    uint64_t watch = watch_of(address);
    if (watch)
        at_watched(address, watch);
}

static __attribute__((noinline)) int run_watched(uint32_t index)
{
    const hs_block *b = &S->blocks[index];
    S->last = index;
    if (S->left < b->count)
        return hs_over_limit(index);
    at_watched(b->address, b->watch);
    S->left -= b->count;
    S->last = index;
    return S->left < 0;
}

/* hs_state.watched. */
static void look_at(hs_block *b)
{
    uint32_t function = (uint32_t)(b->watch = watch_of(b->address));
    b->run = run_watched;
    if (!H.quick || mc_on)
        return;
    if (!function)
        b->run = run_return;
    else if (b->watch == function && functions[function - 1].argument != QUICK_NONE)
        b->run = allocates(&functions[function - 1]) ? run_allocate : run_release;
}

/* --- its Python side ------------------------------------------------------------------------------------------------- */

static void discard(void)
{
    for (size_t i = 0; i < threads_used; i++)
        free(threads[i]);
    free(H.totals), free(H.places), free(H.dear);
    free(blocks_memory), free(H.sites), free(H.stacks), free(H.frames), free(H.rules);
    free(watches), free(functions), free(rule_map), free(stack_map);
    forget_pools();
    forget_marks();
    threads_used = functions_used = watches_used = 0;
    last = NULL, region = ALL, made_in = 0;
    forget_near_sites();
    begin_quick();
    threads = NULL, T = NULL, functions = NULL, watches = NULL, blocks_memory = NULL, rule_map = stack_map = NULL;
    memset(&H, 0, sizeof H);
}

/* Everything anew; NULL: there is no memory for it. */
EXPORT hp_state *hp_init(hs_state *state)
{
    discard();
    S = state;
    S->watched = look_at;
    S->reached = at_watched;
    hs_forget(); /* what is counted already is looked at anew */
    H.most = ALL;
    watches_mask = 255, watches = zeroes(256, sizeof *watches);
    H.sites_used = H.stacks_used = H.rules_used = 1;
    H.sites = zeroes(1, sizeof *H.sites);
    H.stacks = zeroes(1, sizeof *H.stacks);
    H.rules = zeroes(1, sizeof *H.rules);
    H.totals = zeroes(1, sizeof *H.totals);
    H.dear_mask = 255, H.dear = zeroes(512, sizeof *H.dear);
    rule_mask = stack_mask = frames_size = 0;
    rule_map = zeroes(1, sizeof *rule_map);
    stack_map = zeroes(1, sizeof *stack_map);
    return new_table(4096) && !H.stopped ? &H : NULL;
}

/* Trace the function at `address`; 0: there is no memory for it. */
EXPORT int hp_add(uint64_t address, const hp_function *function)
{
    traced *new = longer(functions, functions_used + 1, sizeof *new);
    if (!new)
        return 0;
    functions = new;
    int told = function->pool >= 0 || function->verb >= HP_SWEEP; /* a pool */
    functions[functions_used] = (traced){*function, 0, (uint16_t)functions_used, told ? QUICK_NONE : quick_argument(function)};
    if (function->count < 0 && function->alignment < 0 && function->out < 0 && !told) {
        uint32_t first = 0;
        while (memcmp(&functions[first].does, function, sizeof *function))
            first++;
        functions[functions_used].alike = first + 1;
    }
    watch *w = watch_at(address);
    if (!w)
        return 0;
    w->function = (uint32_t)++functions_used;
    hs_watch(address);
    return 1;
}

/* `tid` runs now; 0: there is no memory for it. */
EXPORT int hp_switch(uint32_t tid)
{
    if (T)
        lengthen();
    H.tid = tid;
    for (size_t i = 0; i < threads_used; i++)
        if (threads[i]->tid == tid) {
            T = threads[i];
            return 1;
        }
    thread **new = longer(threads, threads_used + 1, sizeof *new), *t = new ? zeroes(1, sizeof *t) : NULL;
    if (new)
        threads = new;
    if (!t)
        return 0;
    T = threads[threads_used++] = t;
    T->tid = tid;
    return 1;
}

/* What waits is in the ring, the tables and the totals from here on. */
EXPORT void hp_settle(void)
{
    lengthen();
    settle();
    H.totals->events = H.events;
    H.totals->live = (int64_t)(H.totals->allocated - H.totals->freed);
}

#include "heap_ends.h"

/* The block that begins at `pointer`, live or not; NULL: none is known. */
EXPORT const hp_block *hp_block_at(uint64_t pointer)
{
    const hp_block *b = block_at(pointer);
    return b->used ? b : NULL;
}

/* Is the thread that runs inside a traced function? One that was left without a return is not. */
EXPORT int hp_inside(void)
{
    uint64_t there;
    lengthen();
    R = H.registers ? H.registers : ask();
    return T->depth && T->frames[0].sp >= R[RSP] && word(T->frames[0].sp, &there) && there == T->frames[0].ret;
}

/* The run has ended: what is still inside is written too. */
EXPORT void hp_end(void)
{
    hp_settle();
    for (size_t i = 0; i < threads_used; i++)
        while (threads[i]->depth)
            leave(&threads[i]->frames[--threads[i]->depth], HP_UNFINISHED);
    hp_settle();
}
