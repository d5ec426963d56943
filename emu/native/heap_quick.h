/* Part of heap.c: a short way for most calls of most programs, with the same result. The calls: the program's own, of a
 * function that allocates so many bytes or that releases a block, and that itself calls no traced one. The runs: nobody takes
 * the events, call stacks, --strict or --memcheck. Where it is not just that, `lengthen` makes of it what `entered` would
 * have made, and heap.c goes on. */

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

/* `word` of a stack, whose page in the host is kept while nobody but the guest can change what is mapped. */
static uint64_t page, page_entries;
static const uint8_t *page_bytes;

static __attribute__((noinline)) int top_afar(uint64_t sp, uint64_t *value)
{
    page = ALL;
    if (!word(sp, value))
        return 0;
    if (region == sp >> 21 && !(sp & 7)) {
        page = sp >> 12, page_entries = S->entries;
        page_bytes = S->ram + (table[sp >> 12 & 511] & FRAME);
    }
    return 1;
}

static inline int top(uint64_t sp, uint64_t *value)
{
    if (sp >> 12 != page || sp & 7 || S->entries != page_entries)
        return top_afar(sp, value);
    memcpy(value, page_bytes + (sp & (PAGE - 1)), 8);
    return 1;
}

/* The event of a call, as far as it is known. */
static inline void write_event(hp_event *e, const quick_call *q)
{
    const traced *t = q->of;
    int releases = t->does.verb == HP_RELEASE;
    *e = (hp_event){.entry = q->entry, .size = releases ? 0 : q->argument, .pointer = releases ? q->argument : 0, .born = q->born,
                    .freed = q->freed, .site = q->site, .tid = H.tid, .function = (uint16_t)(t - functions), .kind = t->does.kind,
                    .flags = (uint16_t)q->flags};
}

/* The thread's quick call, if there is one, goes the long way from here on. */
static __attribute__((noinline, cold)) void lengthen(thread *t)
{
    const quick_call *q = &t->quick;
    if (!q->of)
        return;
    frame *f = &t->frames[0];
    f->sp = q->sp, f->ret = q->ret, f->faults = q->faults, f->syscalls = q->syscalls, f->out = 0;
    write_event(&f->event, q);
    f->event.tid = (uint32_t)t->tid;
    t->depth = 1;
    t->quick.of = NULL;
}

static __attribute__((noinline)) void quick_misuse(quick_call *q)
{
    hp_event e;
    write_event(&e, q);
    name(&e, &q->of->does);
    q->born = e.born, q->freed = e.freed, q->flags = e.flags;
}

static inline void quick_release(quick_call *q)
{
    hp_block *b = block_at(q->argument);
    if (!lives(b) || b->inner || !(b->family & q->of->does.family)) {
        quick_misuse(q);
        return;
    }
    q->born = b->born;
    q->freed = b->size;
    die(b, q->entry, q->site, 0, (uint16_t)(q->of - functions));
}

/* 0: its stack cannot be read. */
static __attribute__((noinline)) int quick_entry(traced *t)
{
    const uint64_t *r = H.registers;
    quick_call *q = &T->quick;
    uint64_t value = r[t->argument], sp = r[RSP], ret;
    int releases = t->does.verb == HP_RELEASE && value;
    if (releases)
        __builtin_prefetch(home_of(value), 1);
    settle();
    if (!top(sp, &ret))
        return 0;
    if (ret != t->ret || !t->site)
        t->site = site_of(t->ret = ret);
    *q = (quick_call){t, sp, ret, now(), value, faults(), S->syscalls, 0, 0, t->site, 0};
    if (releases)
        quick_release(q);
    return 1;
}

static __attribute__((noinline)) void quick_return(quick_call *q)
{
    static hp_event done; /* until it is settled */
    const traced *t = q->of;
    settle();
    write_event(&done, q);
    q->of = NULL;
    measure(&done, q->faults, q->syscalls);
    if (t->does.verb == HP_RELEASE) {
        H.events++;
        count(&done, HP_RELEASE, done.flags);
        return;
    }
    done.result = H.registers[RAX];
    made = done.result != 0;
    if (made)
        __builtin_prefetch(home_of(done.result), 1);
    last = &done;
}

/* 0: it is nothing for here. */
static inline int quickly(uint64_t address, uint64_t watch)
{
    const uint64_t *r = H.registers;
    quick_call *q = &T->quick;
    uint32_t function = (uint32_t)watch;
    if (q->of) {
        if (!function && q->ret == address && q->sp + 8 == r[RSP]) {
            quick_return(q);
            return 1;
        }
        if (!(watch >> 32) && q->sp == r[RSP] && q->entry + 1 == now()) { /* a jump, as in goes_on */
            const traced *t = &functions[function - 1];
            if (t->alike == q->of->alike && r[t->argument] == q->argument)
                return 1;
        }
        lengthen(T);
        return 0;
    }
    if (T->depth)
        return 0;
    if (!function)
        return 1; /* whence nobody comes */
    traced *t = &functions[function - 1];
    return t->argument != QUICK_NONE && quick_entry(t);
}
