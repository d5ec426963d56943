/* The hooks that Unicorn calls often: every block, every interrupt, every syscall. Equal in result to emu/cpu/hooks.py
 * and emu/cpu/engine.py, which say why; here is only how. */
#include "hooks.h"
#include "memcheck.h"

#include <stddef.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#define WRITABLE 2ull
#define SPECIAL (1ull << 9)
#define NX (1ull << 63)
#define CLEAN (1u << 31)
#define LONGEST 15
#define UNDEFINED (6u << 8) /* added to a length: the exception that an instruction must raise */
#define FORBIDDEN (13u << 8)
#define LENGTH 255u
#define NONE (~0ull)
#define PAGE_FAULT 0x14Eu
#define CTL_TB_REMOVE (9 | 2 << 26 | 1 << 30)
#define CTL_TLB_FLUSH (11 | 1 << 30)
#define GENERATIONS 0x3FFFFFFF

enum { RAX = 35, RCX = 38, RDX = 40, RDI = 39, RIP = 41, RSI = 43, R8 = 106, R9 = 107, R10 = 108, R11 = 109, RFLAGS = 253 };

/* --- guest memory, through its page tables --------------------------------------------------------------------- */

static uint64_t *word_at(const hs_state *s, uint64_t pa) { return (uint64_t *)(s->ram + pa); }

/* The PTE of va, or NULL where a table is missing. */
static uint64_t *find_pte(const hs_state *s, uint64_t va)
{
    uint64_t table = s->cr3 & FRAME;
    for (int shift = 39;; shift -= 9) {
        uint64_t pa = table + (va >> shift & 511) * 8;
        if (pa + 8 > s->ram_size)
            return NULL;
        uint64_t *entry = word_at(s, pa);
        if (shift == 12)
            return entry;
        if (!(*entry & PRESENT))
            return NULL;
        table = *entry & FRAME;
    }
}

/* Copy up to n bytes at va; how many were there. */
static size_t read_guest(const hs_state *s, uint64_t va, uint8_t *to, size_t n)
{
    size_t done = 0;
    while (done < n) {
        uint64_t *pte = find_pte(s, va + done);
        if (!pte || !(*pte & PRESENT))
            break;
        uint64_t offset = (va + done) % PAGE, pa = (*pte & FRAME) + offset;
        size_t piece = PAGE - offset < n - done ? PAGE - offset : n - done;
        if (pa + piece > s->ram_size)
            break;
        memcpy(to + done, s->ram + pa, piece);
        done += piece;
    }
    return done;
}

/* --- how long an instruction is: emu/cpu/decode.py, line by line ------------------------------------------------- */

static size_t operands(const uint8_t *code, size_t end, size_t i, unsigned flags, int operand16, int address32, int wide)
{
    if (flags & HS_MODRM) {
        if (i >= end)
            return i + LONGEST;
        unsigned modrm = code[i++], mode = modrm >> 6, rm = modrm & 7;
        if (mode != 3) {
            if (rm == 4) {
                rm = i < end ? code[i] & 7 : 0;
                i++;
            }
            i += mode == 1 ? 1 : mode == 2 || rm == 5 ? 4 : 0;
        }
        if (flags & HS_GROUP3 && modrm & 0x30)
            return i;
    }
    if (flags & HS_IMM8)
        i += 1;
    if (flags & HS_IMM16)
        i += 2;
    if (flags & HS_IMMZ)
        i += operand16 ? 2 : 4;
    if (flags & HS_IMMV)
        i += wide ? 8 : operand16 ? 2 : 4;
    if (flags & HS_MOFFS)
        i += address32 ? 4 : 8;
    return i;
}

static size_t length_at(const hs_state *s, const uint8_t *code, size_t end, size_t at)
{
    size_t i = at;
    int operand16 = 0, address32 = 0, wide = 0;
    unsigned mandatory = 0, absent = 0;
    while (i < end && s->one_byte[code[i]] & HS_PREFIX) {
        unsigned byte = code[i++];
        wide = (byte & 0xF8) == 0x48;
        if (byte == 0x66)
            operand16 = 1;
        else if (byte == 0x67)
            address32 = 1;
        else if (byte == 0xF2 || byte == 0xF3)
            mandatory = byte;
    }
    if (i >= end)
        return LONGEST;
    unsigned opcode = code[i], following = i + 1 < end ? code[i + 1] : 0, flags = s->one_byte[opcode];
    i++;
    if (opcode == 0x0F) {
        i++;
        if (following == 0x38 || following == 0x3A) {
            flags = following == 0x38 ? HS_MODRM : HS_MODRM | HS_IMM8;
            i++;
        } else {
            flags = s->two_byte[following];
            if (following == 0x78 && (operand16 || mandatory == 0xF2))
                i += 2;
            else if (following == 0xC7 && i < end && code[i] >= 0xF0)
                absent = UNDEFINED;
        }
    } else if (opcode == 0xC4 || opcode == 0xC5) {
        unsigned map = opcode == 0xC5 ? 1 : following & 31;
        i += opcode == 0xC5 ? 1 : 2;
        unsigned vex = i < end ? code[i] : 0;
        flags = map == 1 ? s->two_byte[vex] : HS_MODRM | (map == 3 ? HS_IMM8 : 0);
        int bmi = map == 2 ? vex == 0xF2 || vex == 0xF3 || (vex >= 0xF5 && vex <= 0xF7) : map == 3 && vex == 0xF0;
        absent = bmi ? 0 : UNDEFINED;
        i++;
    } else if ((opcode & 0xFC) == 0x6C || (opcode & 0xF4) == 0xE4) {
        absent = FORBIDDEN;
    } else if (opcode == 0x8F && following & 0x38) {
        absent = UNDEFINED;
    }
    return (operands(code, end, i, flags, operand16 && !wide, address32, wide) - at) | absent;
}

/* --- counting ------------------------------------------------------------------------------------------------------ */

static hs_state *S; /* one, as there is one Uc */
static int near;    /* its address fits in 31 bits */

/* The instructions of [address, address + size) that begin at rip or after it; is one of them not of this machine? */
static uint64_t count_from(uint64_t address, uint64_t size, uint64_t rip, int *absent)
{
    uint8_t code[2 * PAGE];
    uint64_t n = 0;
    size_t end = read_guest(S, address, code, size < sizeof code ? size : sizeof code);
    for (size_t at = 0, step; at < end; at += step & LENGTH) {
        step = length_at(S, code, end, at);
        n += address + at >= rip;
        if (step > LENGTH && absent)
            *absent = 1;
    }
    return n;
}

static uint64_t rest(uint64_t rip)
{
    const hs_block *b = &S->blocks[S->last];
    if (rip - b->address >= b->size)
        return 0;
    return rip == b->address ? b->count : count_from(b->address, b->size, rip, NULL);
}

static uint32_t *slot(uint64_t address) { return &S->map[address * HASH >> (64 - HS_MAP_BITS)]; }

/* Could this instruction store? The jumps that stand alone in a block do not. */
static int may_store(uint64_t address)
{
    uint8_t code[1];
    return !read_guest(S, address, code, 1) || !(code[0] == 0xE9 || code[0] == 0xEB || code[0] == 0xC3 || (code[0] & 0xF0) == 0x70);
}

/* The block at `address`, counted; 0 where there is no room for one more. */
static uint32_t find_block(uint64_t address, uint64_t size)
{
    uint32_t *at = slot(address);
    hs_block *b = &S->blocks[*at];
    if (*at && b->address == address && b->size == size && b->generation == (S->generation & GENERATIONS))
        return *at;
    if (S->used == HS_BLOCKS)
        return 0;
    b = &S->blocks[S->used];
    b->address = address;
    b->size = (uint16_t)size;
    int absent = 0;
    b->count = (uint16_t)count_from(address, size, 0, &absent);
    b->absent = absent != 0;
    b->generation = S->generation & GENERATIONS;
    b->alone = b->count == 1 && may_store(address);
    b->watch = 0;
    if (S->watched)
        S->watched(b);
    return *at = (uint32_t)S->used++;
}

/* A block begins that does not fit below the limit: 1 if on_limit wants it counted and run. */
static int over(uint32_t index)
{
    const hs_block *b = &S->blocks[index];
    S->last = 0;
    S->entries++;
    if (!S->on_limit(b->address, b->size))
        return 0;
    S->last = index;
    S->left -= b->count;
    return 1;
}

/* Called by patched code, which has counted the block already. */
static void hs_over(void)
{
    uint32_t index = S->last;
    S->left += S->blocks[index].count;
    over(index);
}

int hs_over_limit(uint32_t index)
{
    over(index);
    return 1;
}

#if defined(__x86_64__) && defined(__linux__)
/* Unicorn calls the block hook, and then the helper that looks whether to stop, in a fixed sequence of instructions:
 *
 *   movabs rdi, uc | mov esi, pc | mov edx, size | movabs rcx, data | call hook     movabs rdi, uc | xor esi, esi | call
 *                                                                           ^ ra                                      ^ end
 * Where it is just that, the first part is replaced by what hs_on_block does for this block, 15 times cheaper; it goes on
 * at ra only when `left` is below 0, which is also how a stop is asked for:
 *
 *   mov eax, S | sub qword [rax], count | mov dword [rax + 8], index | jns end | call [rax + 16] | nops
 * and for a watched block:
 *   mov edi, index | movabs rax, run | call rax | test eax, eax | je end | nops
 */
static int is_call(const uint8_t *ra, int length, void *target)
{
    int32_t offset;
    memcpy(&offset, ra - 4, 4);
    if (length == 5)
        return ra[-5] == 0xE8 && ra + offset == (uint8_t *)target;
    return ra[-6] == 0xFF && ra[-5] == 0x15 && *(void **)(ra + offset) == target;
}

/* The length of a load of the constant `value` into a register that ends at `end`; 0 if it is not that.
 * `low` is the register's number: 1 rcx, 6 rsi, 7 rdi. */
static int is_load(const uint8_t *end, int low, uint64_t value)
{
    int32_t narrow;
    memcpy(&narrow, end - 4, 4);
    if (end[-10] == 0x48 && end[-9] == (0xB8 | low) && !memcmp(end - 8, &value, 8))
        return 10;
    if (end[-7] == 0x48 && end[-6] == 0x8D && end[-5] == (0x05 | low << 3) && (uint64_t)(uintptr_t)end + (int64_t)narrow == value)
        return 7;
    if (end[-7] == 0x48 && end[-6] == 0xC7 && end[-5] == (0xC0 | low) && (uint64_t)(int64_t)narrow == value)
        return 7;
    if (end[-5] == (0xB8 | low) && (uint32_t)narrow == value)
        return 5;
    return 0;
}

/* Both write the code, without the distance of the jump to `end`, and return its length. */
static size_t count_in_line(uint8_t *code, uint32_t count, uint32_t index, const uint8_t *rip, size_t store)
{
    uint32_t at = (uint32_t)(uintptr_t)S;
    memcpy(code, (uint8_t[21]){0xB8, [5] = 0x48, 0x81, 0x28, [12] = 0xC7, 0x40, 8, [19] = 0x79}, 21);
    memcpy(code + 1, &at, 4);
    memcpy(code + 8, &count, 4);
    memcpy(code + 15, &index, 4);
    memcpy(code + 21, rip, store);
    memcpy(code + 21 + store, (uint8_t[]){0xFF, 0x50, offsetof(hs_state, over)}, 3);
    return 24 + store;
}

static size_t call_watched(uint8_t *code, const hs_block *b, uint32_t index, const uint8_t *rip, size_t store)
{
    memcpy(code, rip, store);
    code += store;
    memcpy(code, (uint8_t[21]){0xBF, [5] = 0x48, 0xB8, [15] = 0xFF, 0xD0, 0x85, 0xC0, 0x74}, 21);
    memcpy(code + 1, &index, 4);
    memcpy(code + 7, &b->run, 8);
    return store + 21;
}

static void patch(uint8_t *ra, void *uc, uint32_t index, void *hook)
{
    const hs_block *b = &S->blocks[index];
    if (!near || (uint64_t)(uintptr_t)ra < S->code + 64 || (uint64_t)(uintptr_t)ra + 64 > S->code_end)
        return;
    uint8_t *p = ra - (ra[-6] == 0xFF && ra[-5] == 0x15 ? 6 : 5), *end = ra;
    if (!is_call(ra, (int)(ra - p), hook))
        return;
    int n = is_load(p, 1, (uint64_t)(uintptr_t)S);
    p -= n;
    if (!n || p[-5] != 0xBA || memcmp(p - 4, (uint32_t[]){b->size}, 4))
        return;
    p -= 5;
    n = is_load(p, 6, b->address);
    p -= n;
    if (!n || !(n = is_load(p, 7, (uint64_t)(uintptr_t)uc)))
        return;
    p -= n;
    n = is_load(end + 10, 7, (uint64_t)(uintptr_t)uc) == 10 ? 10 : is_load(end + 7, 7, (uint64_t)(uintptr_t)uc);
    end += n;
    if (!n || end[0] != 0x33 || end[1] != 0xF6)
        return;
    n = end[2] == 0xE8 ? 7 : end[2] == 0xFF && end[3] == 0x15 ? 8 : 0;
    end += n;
    if (!n)
        return;
    /* the store of the block's address in RIP, before it all, is for the hook: it moves before the call */
    size_t store = p[-11] == 0x48 && p[-10] == 0xC7 && p[-9] == 0x85 && !memcmp(p - 4, &b->address, 4) ? 11 : 0;
    p -= store;
    uint8_t code[40], rip[11];
    memcpy(rip, p, store);
    size_t length = b->watch ? call_watched(code, b, index, rip, store) : count_in_line(code, b->count, index, rip, store);
    size_t jump = b->watch ? length : 21; /* the end of the jump to `end`: its last byte says how far */
    if ((size_t)(ra - p) < length || end - p - (ptrdiff_t)jump > 127)
        return;
    code[jump - 1] = (uint8_t)(end - p - (ptrdiff_t)jump);
    memset(p, 0x90, (size_t)(ra - p));
    memcpy(p, code, length);
    S->patched++;
}
#else
static void patch(uint8_t *ra, void *uc, uint32_t index, void *hook) { (void)ra, (void)uc, (void)index, (void)hook; }
#endif

EXPORT void hs_on_block(void *uc, uint64_t address, uint32_t size, void *data)
{
    (void)data;
    if (mc_on)
        mc_translated(address, size, __builtin_return_address(0));
    uint32_t index = find_block(address, size);
    if (!index) {
        S->last = 0;
        S->entries++;
        S->on_limit(address, size);
        return;
    }
    const hs_block *b = &S->blocks[index];
    if (b->alone && index != S->last) {
        /* Inside the last block? A store hit the block it stands in: Unicorn goes on with that instruction alone. No
         * jump makes a block shorter than what is left of the old one. */
        uint64_t left = rest(address);
        if (left > 1)
            S->left += (int64_t)left;
    }
    if (S->left < b->count || b->absent) {
        over(index);
        return;
    }
    if (b->watch)
        S->reached(address, b->watch);
    S->left -= b->count;
    S->last = index;
    if (!b->alone)
        patch(__builtin_return_address(0), uc, index, (void *)hs_on_block);
}

/* A block was translated: what was known of its address may be of other bytes. `block` is a uc_tb, the address first. */
EXPORT void hs_on_edge(void *uc, const uint64_t *block, const void *before, void *data)
{
    (void)uc, (void)before, (void)data;
    *slot(*block) = 0;
    if (mc_on)
        mc_translated(*block, 0, NULL);
}

EXPORT int64_t hs_settle(uint64_t rip)
{
    S->left += (int64_t)rest(rip);
    S->last = 0;
    return S->limit - S->left;
}

EXPORT int64_t hs_here(uint64_t rip) { return S->limit - S->left - (int64_t)rest(rip); }

EXPORT void hs_forget(void)
{
    S->generation++;
    memset(S->map, 0, sizeof *S->map << HS_MAP_BITS);
}

size_t hs_read_guest(uint64_t va, void *to, size_t n) { return read_guest(S, va, to, n); }

uint64_t *hs_page_table(uint64_t va)
{
    uint64_t *pte = find_pte(S, va);
    return pte ? pte - (va >> 12 & 511) : NULL;
}

/* Its block, if there is one, is translated and looked at anew. Not where no page is: nothing could be translated. */
void hs_watch(uint64_t address)
{
    const uint64_t *pte = S->cr3 ? find_pte(S, address) : NULL;
    *slot(address) = 0;
    if (pte && *pte & PRESENT)
        S->ctl(S->uc, CTL_TB_REMOVE, address, address + 1);
}

/* All translations were dropped: no block's number is in use. */
EXPORT void hs_dropped(void)
{
    hs_forget();
    S->used = 1;
    S->last = 0;
}

/* The state, all zero but for `over`. It lies where translated code can name it in 32 bits; else there is no patching. */
EXPORT hs_state *hs_init(void)
{
    static hs_state fallback;
#if defined(__x86_64__) && defined(__linux__)
    if (!S) {
        S = mmap(NULL, sizeof *S, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
        near = S != MAP_FAILED;
    }
#endif
    if (!near)
        S = &fallback;
    memset(S, 0, sizeof *S);
    S->over = hs_over;
    return S;
}

/* For tests: as decode.length. */
EXPORT uint64_t hs_length(const uint8_t *code, uint64_t n, uint64_t at) { return length_at(S, code, n, at); }

/* --- page faults: what kernel/mm/fault.py does for the VMAs in `windows` ------------------------- */

/* Frames.alloc: a zeroed frame with one reference, or NONE. */
static uint64_t alloc_frame(void)
{
    uint64_t n = S->frame_counters[HS_FREE], pfn;
    if (n) {
        uint32_t entry = S->free[n - 1];
        pfn = entry & ~CLEAN;
        S->frame_counters[HS_FREE] = n - 1;
        if (!(entry & CLEAN))
            memset(S->ram + pfn * PAGE, 0, PAGE);
    } else {
        pfn = S->frame_counters[HS_BUMP];
        if (pfn >= S->frame_counters[HS_LIMIT])
            return NONE;
        S->frame_counters[HS_BUMP] = pfn + 1;
    }
    S->refs[pfn] = 1;
    return pfn;
}

/* The number of the window that shows va, 0 for none. */
static uint64_t find_window(uint64_t va)
{
    uint64_t n = S->windows ? S->windows[HS_USED] : 0;
    for (const uint64_t *window = S->windows + HS_HEAD + n * HS_WIDTH; n; n--) {
        window -= HS_WIDTH;
        if (va >= window[HS_START] && va < window[HS_END])
            break;
    }
    return n;
}

/* handle_mm_fault for the first touch of a page in a window, and for the first write after a read. 0: not ours. */
static int fault_here(uint64_t va, uint32_t error)
{
    uint64_t n = find_window(va);
    if (!n)
        return 0;
    const uint64_t *window = S->windows + HS_HEAD + (n - 1) * HS_WIDTH;
    uint64_t *pte = find_pte(S, va);
    if (!pte)
        return 0;
    uint64_t write_bits = window[HS_WRITE_BITS], read_bits = window[HS_READ_BITS];
    if (error == 4) { /* a read of an absent page: the zero page */
        if (*pte || !read_bits)
            return 0;
        *pte = S->frame_counters[HS_ZERO] << 12 | read_bits;
    } else { /* a write: of an absent page, or of the zero page where that holds no code */
        if (!write_bits || (error != 6 && error != 7))
            return 0;
        if (error == 6 ? *pte != 0 : !(*pte & SPECIAL) || *pte & WRITABLE || !(*pte & PRESENT) || !(write_bits & NX))
            return 0;
        if (window[HS_TELL] && S->windows[HS_TOLD] && S->windows[HS_TOLD] != n)
            return 0;
        uint64_t pfn = alloc_frame();
        if (pfn == NONE)
            return 0;
        *pte = pfn << 12 | write_bits;
        S->mm_counters[HS_ANON]++;
        if (window[HS_TELL])
            S->windows[HS_TOLD] = n;
    }
    S->mm_counters[HS_MIN_FLT]++;
    return 1;
}

static void flush_stale_tlb(void *uc)
{
    if (S->stale_tlb) {
        S->stale_tlb = 0;
        S->ctl(uc, CTL_TLB_FLUSH);
    }
}

EXPORT void hs_on_interrupt(void *uc, uint32_t number, void *data)
{
    (void)data;
    uint64_t rip = 0, va = 0;
    uint32_t error = 0;
    S->entries++;
    S->reg_read(uc, RIP, &rip);
    hs_settle(rip);
    if (S->error_code) {
        S->context_save(uc, S->context);
        error = *S->error_code;
    }
    if (number == PAGE_FAULT) {
        va = *S->fault_address;
        if (++S->faults == S->flush_at) {
            /* Its size doubles, if it is full. Not for ever: each translation of a block looks through all of it. */
            S->flush_at = S->flush_at < HS_LAST_FLUSH ? S->flush_at * 2 : 0;
            S->ctl(uc, CTL_TLB_FLUSH);
        }
        if (S->error_code && fault_here(va, error))
            return;
    }
    S->on_interrupt(number, rip, va, error);
    flush_stale_tlb(uc);
}

/* --- syscalls ---------------------------------------------------------------------------------------------------- */

EXPORT void hs_on_syscall(void *uc, void *data)
{
    (void)data;
    static const int entry[] = {RAX, RDI, RSI, RDX, R10, R8, R9, RIP, RFLAGS}, clobbered[] = {RCX, R11}, result[] = {RAX};
    uint64_t v[9], next;
    void *pointers[9], *two[] = {&next, &v[8]};
    for (int i = 0; i < 9; i++)
        pointers[i] = &v[i];
    S->reg_read_batch(uc, entry, pointers, 9);
    const hs_block *b = &S->blocks[S->last];
    S->next_rip = next = S->last ? b->address + b->size : v[7] + 2;
    S->reg_write_batch(uc, clobbered, two, 2);
    S->keep_rax = 0;
    S->syscalls++;
    S->entries++;
    int64_t rax = S->on_syscall(v[0], v[1], v[2], v[3], v[4], v[5], v[6]);
    if (!S->keep_rax) {
        void *one[] = {&rax};
        S->reg_write_batch(uc, result, one, 1);
    }
    S->next_rip = 0;
    flush_stale_tlb(uc);
}
