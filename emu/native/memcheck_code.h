/* Part of memcheck.c: calls in translated code, of Unicorn's functions, which are made calls of ours. */

/* Functions for instructions that access memory in a way of their own: ours are told first, then Unicorn's goes on. */
enum { OUT = 1, IN = 2, MASKED = 4, WIDTH = 8 }; /* stores; loads; only bytes whose mask is negative; 14 less by 16 bits */

static const struct {
    uint16_t size, how;
} aparts[MC_APARTS] = {{10, IN}, {10, OUT}, {10, IN}, {10, OUT}, {28, IN | WIDTH}, {28, OUT | WIDTH}, {108, OUT | WIDTH},
                       {108, IN | WIDTH}, {512, OUT}, {512, IN}, {576, OUT}, {576, OUT}, {576, IN}, {8, IN | OUT}, {8, IN | OUT},
                       {16, IN | OUT}, {16, IN | OUT}, {8, OUT | MASKED}, {16, OUT | MASKED}};

static void apart(const void *env, uint64_t a, uint64_t b, uint64_t c, uintptr_t host_pc, uint32_t which)
{
    (void)env;
    unsigned how = aparts[which].how, size = aparts[which].size;
    if (how & MASKED) {
        const int8_t *mask = (const int8_t *)(uintptr_t)b;
        for (unsigned i = 0; i < size; i++)
            if (mask[i] < 0)
                look(c + i, 1, WRITES, host_pc);
        return;
    }
    if (how & WIDTH && !(uint32_t)b)
        size -= 14;
    if (some_bad(a, size))
        examine(a, size, how & IN ? READS_ALL : WRITES, host_pc);
    else if (M.loads_blank && how & IN)
        examine(a, size, READS_BLANK, host_pc);
    if (how & OUT)
        mc_wrote(a, size);
}

static uint8_t *stubs; /* jumps to our functions, near to translated code; NULL: there is none */

#if defined(__x86_64__) && defined(__linux__)
#define STUB 16
#define LOADS 12
#define APART 64

static void *ours[MC_HELPERS] = {[LOADS] = store_b, store_w, store_l, store_q, swap_to_w, swap_to_l, swap_to_q};

/* Keeps the arguments, calls `apart` with them, where it was called from, and `which`; then goes on to Unicorn's. */
static void make_apart(uint8_t *at, uint32_t which)
{
    static const uint8_t code[] = {
        0x57, 0x56, 0x52, 0x51, 0x41, 0x50,          /* push rdi, rsi, rdx, rcx, r8 */
        0x4C, 0x8B, 0x44, 0x24, 0x28,                /* mov r8, [rsp+40] */
        0x41, 0xB9, 0, 0, 0, 0,                      /* mov r9d, which */
        0x48, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0,          /* mov rax, apart */
        0xFF, 0xD0,                                  /* call rax */
        0x41, 0x58, 0x59, 0x5A, 0x5E, 0x5F,          /* pop r8, rcx, rdx, rsi, rdi */
        0xFF, 0x25, 0, 0, 0, 0,                      /* jmp [rip] */
    };
    void *function = apart;
    memcpy(at, code, sizeof code);
    memcpy(at + 13, &which, 4);
    memcpy(at + 19, &function, 8);
    memcpy(at + sizeof code, &M.aparts[which], 8);
}

static int make_stubs(void)
{
    uint64_t lowest = S->code_end > 0x7FFF0000 ? S->code_end - 0x7FFF0000 : 0;
    for (uint64_t at = (S->code & ~0xFFFFull) - 0x10000; !stubs && at > lowest; at -= 0x100000) {
        void *got = mmap((void *)at, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if ((uint64_t)got + PAGE <= S->code && (uint64_t)got > lowest)
            stubs = got;
        else if (got != MAP_FAILED)
            munmap(got, PAGE);
    }
    if (!stubs)
        return 0;
    return 1;
}

/* Once it is known where Unicorn's are, and what is asked for; 0: the host refuses. */
static int finish_stubs(void)
{
    static void *const loads[2][LOADS] = {
        {load_ub, load_sb, load_uw, load_sw, load_ul, load_sl, load_q, swap_uw, swap_sw, swap_ul, swap_sl, swap_q},
        {load_ub_blank, load_sb_blank, load_uw_blank, load_sw_blank, load_ul_blank, load_sl_blank, load_q_blank,
         swap_uw_blank, swap_sw_blank, swap_ul_blank, swap_sl_blank, swap_q_blank}};
    if (mprotect(stubs, PAGE, PROT_READ | PROT_WRITE))
        return 0;
    memcpy(ours, loads[M.loads_blank != 0], sizeof loads[0]);
    for (int i = 0; i < MC_HELPERS; i++) {
        memcpy(stubs + i * STUB, "\xFF\x25\0\0\0\0", 6); /* jmp [rip] */
        memcpy(stubs + i * STUB + 6, &ours[i], 8);
    }
    for (uint32_t i = 0; i < MC_APARTS; i++)
        if (M.aparts[i])
            make_apart(stubs + MC_HELPERS * STUB + i * APART, i);
    return mprotect(stubs, PAGE, PROT_READ | PROT_EXEC) == 0;
}

/* A call of one of the functions for instructions of their own kind. */
static int redirect_apart(uint8_t *operand, const uint8_t *target, uint8_t *word)
{
    if ((uintptr_t)target - M.apart_low > M.apart_high - M.apart_low)
        return 0;
    for (int i = 0; i < MC_APARTS; i++)
        if (target == M.aparts[i]) {
            uint8_t *stub = stubs + MC_HELPERS * STUB + i * APART;
            int32_t offset = (int32_t)(stub - (operand + 4));
            memcpy(word ? word : operand, word ? (const void *)&stub : &offset, word ? 8 : 4);
            return 1;
        }
    return 0;
}

/* A load is `lea rcx, [rip+…] | call`, a store `push r8 | jmp`, both to one of Unicorn's functions: by offset where that
 * is near enough, else by way of a word behind the block. */
static void redirect(uint8_t *from, uint8_t *to)
{
    for (uint8_t *p = from; p + 6 <= to; p++) {
        int far = p[0] == 0xFF && (p[1] == 0x15 || p[1] == 0x25), load = far ? p[1] == 0x15 : p[0] == 0xE8;
        if (!far && (p[0] & 0xFE) != 0xE8)
            continue;
        int32_t offset;
        memcpy(&offset, p + 1 + far, 4);
        uint8_t *target = p + 5 + far + offset, *word = target;
        if (far) {
            if ((uint64_t)(uintptr_t)word < S->code || (uint64_t)(uintptr_t)word + 8 > S->code_end)
                continue;
            memcpy(&target, word, 8);
        }
        if (load && redirect_apart(p + 1 + far, target, far ? word : NULL)) {
            p += 4;
            continue;
        }
        if (load ? p[-7] != 0x48 || p[-6] != 0x8D || p[-5] != 0x0D : p[-2] != 0x41 || p[-1] != 0x50)
            continue;
        for (int i = load ? 0 : LOADS; i < (load ? LOADS : MC_HELPERS); i++)
            if (target == M.helpers[i]) {
                offset = (int32_t)(stubs + i * STUB - (p + 5));
                memcpy(far ? word : p + 1, far ? (const void *)&ours[i] : &offset, far ? 8 : 4);
                M.redirected++;
                p += 4;
                break;
            }
    }
}
#else
static int make_stubs(void) { return 0; }
static int finish_stubs(void) { return 0; }
static void redirect(uint8_t *from, uint8_t *to) { (void)from, (void)to; }
#endif

void mc_translated(uint64_t address, uint64_t size, uint8_t *ra)
{
    uint64_t *known = &scanned[(address * HASH >> 40) % SCANNED], key = address ^ (uint64_t)(uintptr_t)ra << 17;
    if (!ra) {
        *known = 0;
        return;
    }
    if (*known == key || (uint64_t)(uintptr_t)ra < S->code || (uint64_t)(uintptr_t)ra >= S->code_end)
        return;
    *known = key;
    M.blocks++;
    uint64_t room = S->code_end - (uint64_t)(uintptr_t)ra, longest = 2048 + 512 * size; /* of what `size` bytes become */
    redirect(ra, ra + (room < longest ? room : longest));
}
