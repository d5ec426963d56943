/* Each load and store of translated code against a shadow of the heap: equal in result to emu/cpu/pythonmemory.py, which
 * says what is an error. Unicorn's memory hooks report physical addresses, and take 200 ns each to find out where the
 * guest is. So where translated code calls Unicorn's functions for loads and stores, it is made to call ours, which are
 * given the virtual address, do the access, by Unicorn's own where it is not in the TLB, and then look at the shadow.
 * Translated code calls them for each access while there is a memory hook; one that never fires is enough. */
#include "memcheck.h"
#include "heap.h"
#include "hooks.h"

#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#define SCANNED 4096u
enum { RIP = 41, RDI = 39, RSI = 43 };

typedef struct {
    uint64_t pc;
    uint32_t flags, told;
    uint64_t more; /* not told */
} insn;

int mc_on;
static hs_state *S;
static mc_state M;
static insn *insns;
static uint64_t insns_mask, insns_used;
static uint64_t scanned[SCANNED];

#include "memcheck_shadow.h"

/* --- accesses ----------------------------------------------------------------------------------------------------- */

/* Is one of these bytes bad? */
static int some_bad(uint64_t va, unsigned size)
{
    for (uint64_t at = va; at < va + size; at++)
        if (near_page(at / PAGE)->words[at % PAGE / 64].bad >> at % 64 & 1)
            return 1;
    return 0;
}

static int all_bad(uint64_t va, unsigned size)
{
    for (uint64_t at = va; at < va + size; at++)
        if (!(near_page(at / PAGE)->words[at % PAGE / 64].bad >> at % 64 & 1))
            return 0;
    return 1;
}

static insn *insn_slot(uint64_t pc)
{
    uint64_t i = pc * HASH >> 32;
    while (insns[i & insns_mask].pc && insns[i & insns_mask].pc != pc)
        i++;
    return &insns[i & insns_mask];
}

static insn *insn_at(uint64_t pc)
{
    insn *i = insn_slot(pc);
    if (i->pc)
        return i;
    if (2 * ++insns_used > insns_mask) {
        insn *old = insns;
        uint64_t n = insns_mask + 1;
        insns = calloc(2 * n, sizeof *insns);
        insns_mask = 2 * n - 1;
        for (uint64_t k = 0; k < n; k++)
            if (old[k].pc)
                *insn_slot(old[k].pc) = old[k];
        free(old);
        i = insn_slot(pc);
    }
    *i = (insn){pc, M.on_pc(pc), 0, 0};
    return i;
}

/* May this instruction load bad bytes? */
static int spared(const insn *i, uint64_t va, unsigned size)
{
    if (i->flags & MC_READS)
        return 1;
    if (i->flags & MC_SCANS) {
        static const int ids[] = {RDI, RSI};
        for (int n = 0; n < (i->flags & MC_BOTH ? 2 : 1); n++) {
            uint64_t pointer = 0;
            S->reg_read(S->uc, ids[n], &pointer);
            if (pointer >= va && pointer < va + size && all_bad(pointer & ~15ull, 16))
                return 0;
        }
        return 1;
    }
    if (size < 8 || va % 8)
        return 0;
    return i->flags & MC_WIDE ? !all_bad(va & ~15ull, 16) : !all_bad(va, 8);
}

enum { READS, WRITES, READS_ALL, READS_BLANK }; /* READS_ALL: in a way that nothing excuses */

static int nothing_written(uint64_t va, unsigned size)
{
    for (uint64_t at = va; at < va + size; at++)
        if (!(near_page(at / PAGE)->words[at % PAGE / 64].blank >> at % 64 & 1))
            return 0;
    return 1;
}

/* May this instruction load blank bytes? */
static int spared_blank(const insn *i, uint64_t va)
{
    return i->flags & (MC_READS | MC_SCANS | MC_COPIES) || (i->flags & MC_WIDE && !nothing_written(va & ~15ull, 16));
}

static __attribute__((noinline)) void examine(uint64_t va, unsigned size, int how, uintptr_t host_pc)
{
    uint64_t pc = 0;
    if (!mc_on || S->cr3 != M.cr3 || !(how == READS_BLANK ? nothing_written(va, size) : some_bad(va, size)) || hp_inside())
        return;
    M.restore(M.cpu, host_pc, 0);
    S->reg_read(S->uc, RIP, &pc);
    insn *i = insn_at(pc);
    if (i->flags & MC_ALLOCATOR || (how == READS && spared(i, va, size)) || (how == READS_BLANK && spared_blank(i, va)))
        return;
    if (i->told == M.tells) {
        i->more++;
        return;
    }
    i->told++;
    M.on_access(pc, va, size, how == READS_ALL ? READS : (uint32_t)how);
}

/* Bytes of which some are blank or bad, or which lie in two words, have been written. */
static __attribute__((noinline)) void stored(uint64_t va, unsigned size, uintptr_t host_pc)
{
    page *p = near_page(va / PAGE);
    word *w = &p->words[va % PAGE / 64];
    uint64_t mask = ((1ull << size) - 1) << va % 64;
    int one = va % 64 + size <= 64;
    if (__builtin_expect(one && !(w->bad & mask) && !shared(p), 1)) {
        w->blank &= ~mask;
        return;
    }
    if (!one || w->blank & mask)
        mc_wrote(va, size);
    examine(va, size, WRITES, host_pc);
}

/* Bytes of which some are blank or bad, or which lie in two words, have been read, and it matters. */
static __attribute__((noinline)) void loaded(uint64_t va, unsigned size, uintptr_t host_pc)
{
    examine(va, size, some_bad(va, size) ? READS : READS_BLANK, host_pc);
}

static inline __attribute__((always_inline)) void look(uint64_t va, unsigned size, int how, uintptr_t host_pc)
{
    const entry *e = &cache[va / PAGE % CACHED];
    unsigned at = va % PAGE;
    const word *w = &(e->vpn == va / PAGE + 1 ? e->page : near_page(va / PAGE))->words[at / 64];
    uint64_t hit = (how == READS ? w->bad : w->bad | w->blank) >> at % 64 & ((1u << size) - 1);
    if (__builtin_expect(!hit && at % 64 + size <= 64, 1))
        return;
    if (how == WRITES)
        stored(va, size, host_pc);
    else if (how == READS_BLANK)
        loaded(va, size, host_pc);
    else
        examine(va, size, how, host_pc);
}

/* --- what is in Unicorn's TLB ------------------------------------------------------------------------------------------
 * Its functions take long even so: they look for hooks and for the piece of memory. Ours answer by themselves, once what
 * they know of the TLB has held for many accesses. An entry with flags (code is there, say) is left to Unicorn. */

enum { TAG_READ, TAG_WRITE, ADDEND = 4, ENTRY = 64, NEAR = -0x40, PROOFS = 64, TRIES = 4096 };

static int proven, tried; /* PROOFS: it is as expected; -1: it is not */

static inline const uint64_t *entry_of(const void *env, uint64_t va, uint32_t how)
{
    const uint64_t *fast = (const uint64_t *)((const char *)env + NEAR + (how & 15) * 16); /* mask and table */
    return (const uint64_t *)(fast[1] + (va / PAGE * ENTRY & fast[0]));
}

/* Unicorn's function has made an access: is it in the TLB as we think, and where our own walk finds it? */
static __attribute__((noinline)) void prove(const void *env, uint64_t va, uint32_t how, int store)
{
    uint64_t mask = *(const uint64_t *)((const char *)env + NEAR + (how & 15) * 16);
    if (proven < 0 || proven == PROOFS || ++tried == TRIES || mask % ENTRY || ((mask / ENTRY) & (mask / ENTRY + 1))) {
        proven = proven == PROOFS ? PROOFS : -1;
        return;
    }
    const uint64_t *e = entry_of(env, va, how), *table = hs_page_table(va);
    uint64_t pte = table ? table[va / PAGE & 511] : 0;
    if (e[store ? TAG_WRITE : TAG_READ] != va / PAGE * PAGE || !(pte & PRESENT))
        return;
    proven = e[ADDEND] + va == (uint64_t)(uintptr_t)S->ram + (pte & FRAME) + va % PAGE ? proven + 1 : -1;
}

static inline __attribute__((always_inline)) void *host_of(const void *env, uint64_t va, uint32_t how, unsigned size, int store)
{
    if (__builtin_expect(proven != PROOFS, 0))
        return NULL;
    const uint64_t *e = entry_of(env, va, how);
    if (__builtin_expect(e[store ? TAG_WRITE : TAG_READ] != va / PAGE * PAGE || va % PAGE + size > PAGE, 0))
        return NULL;
    return (void *)(uintptr_t)(va + e[ADDEND]);
}

/* Two of each load: the second is for runs in which a load of blank bytes is told. Those of movbe, which is rare, are left
 * to Unicorn always: its functions swap the bytes. */
#define LOAD(name, n, size, type, ours) \
    LOAD_AS(name, n, size, type, ours, READS) LOAD_AS(name##_blank, n, size, type, ours, READS_BLANK)
#define LOAD_AS(name, n, size, type, ours, kind) \
    static uint64_t name(void *env, uint64_t va, uint32_t how, uintptr_t host_pc) \
    { \
        const void *host = ours ? host_of(env, va, how, size, 0) : NULL; \
        type got; \
        uint64_t value; \
        if (__builtin_expect(host != NULL, 1)) { \
            memcpy(&got, host, size); \
            value = (uint64_t)(int64_t)got; \
        } else { \
            value = ((uint64_t (*)(void *, uint64_t, uint32_t, uintptr_t))M.helpers[n])(env, va, how, host_pc); \
            prove(env, va, how, 0); \
        } \
        look(va, size, kind, host_pc); \
        return value; \
    }
#define STORE(name, n, size, type, ours) \
    static void name(void *env, uint64_t va, type value, uint32_t how, uintptr_t host_pc) \
    { \
        void *host = ours ? host_of(env, va, how, size, 1) : NULL; \
        if (__builtin_expect(host != NULL, 1)) \
            memcpy(host, &value, size); \
        else { \
            ((void (*)(void *, uint64_t, type, uint32_t, uintptr_t))M.helpers[n])(env, va, value, how, host_pc); \
            prove(env, va, how, 1); \
        } \
        look(va, size, WRITES, host_pc); \
    }
LOAD(load_ub, 0, 1, uint8_t, 1)
LOAD(load_sb, 1, 1, int8_t, 1)
LOAD(load_uw, 2, 2, uint16_t, 1)
LOAD(load_sw, 3, 2, int16_t, 1)
LOAD(load_ul, 4, 4, uint32_t, 1)
LOAD(load_sl, 5, 4, int32_t, 1)
LOAD(load_q, 6, 8, uint64_t, 1)
LOAD(swap_uw, 7, 2, uint16_t, 0)
LOAD(swap_sw, 8, 2, int16_t, 0)
LOAD(swap_ul, 9, 4, uint32_t, 0)
LOAD(swap_sl, 10, 4, int32_t, 0)
LOAD(swap_q, 11, 8, uint64_t, 0)
STORE(store_b, 12, 1, uint32_t, 1)
STORE(store_w, 13, 2, uint32_t, 1)
STORE(store_l, 14, 4, uint32_t, 1)
STORE(store_q, 15, 8, uint64_t, 1)
STORE(swap_to_w, 16, 2, uint32_t, 0)
STORE(swap_to_l, 17, 4, uint32_t, 0)
STORE(swap_to_q, 18, 8, uint64_t, 0)

#include "memcheck_code.h"

/* --- its Python side ------------------------------------------------------------------------------------------------- */

/* Everything anew; NULL: this host cannot. */
EXPORT mc_state *mc_init(hs_state *state)
{
    for (uint64_t i = 0; pages && i <= pages_mask; i++)
        if (pages[i].vpn && !shared(pages[i].page))
            free(pages[i].page);
    free(pages), free(insns), free(slacks);
    memset(&M, 0, sizeof M);
    memset(cache, 0, sizeof cache);
    memset(scanned, 0, sizeof scanned);
    memset(all_live.live, 255, sizeof all_live.live);
    memset(all_blank.live, 255, sizeof all_blank.live);
    for (int i = 0; i < 64; i++)
        all_dead.words[i].bad = all_blank.words[i].blank = ALL;
    S = state;
    pages_mask = 1023, pages_used = 0, pages = calloc(1024, sizeof *pages);
    insns_mask = 255, insns_used = 0, insns = calloc(256, sizeof *insns);
    slacks = NULL, slacks_used = barred_used = held_used = 0;
    mc_on = proven = tried = 0, kept_size = 0;
    return (stubs || (S->code && make_stubs())) ? &M : NULL;
}

/* No allocator owns what lies beside blocks in this range. */
EXPORT void mc_bar(uint64_t start, uint64_t end)
{
    if (barred_used < sizeof barred / sizeof *barred)
        barred[barred_used][0] = start, barred[barred_used++][1] = end;
}

/* The next function: how many bytes after and before its blocks are nobody's (after 0: up to the next multiple of 8), and
 * whether nobody has written what it makes. */
EXPORT void mc_slack(uint8_t after, uint8_t before, uint8_t blank)
{
    slacks = realloc(slacks, 3 * (slacks_used + 1));
    uint8_t *s = &slacks[3 * slacks_used++];
    s[0] = after, s[1] = before, s[2] = blank;
}

EXPORT uint64_t mc_more(uint64_t pc) { return insn_slot(pc)->more; }

/* 0: this host cannot. */
EXPORT int mc_start(void) { return mc_on = finish_stubs(); }

EXPORT void mc_stop(void) { mc_on = 0; }
