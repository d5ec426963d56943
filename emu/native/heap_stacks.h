/* Part of heap.c: call stacks by the rules for each return address, which Python tells once, and the numbers of both. */

static uint32_t *rule_map, *stack_map; /* hash tables of numbers; 0: empty */
static uint64_t rule_mask, stack_mask, frames_size;

static uint32_t rule_slot(uint64_t pc)
{
    uint64_t i = pc * HASH >> 32;
    while (rule_map[i & rule_mask] && H.rules[rule_map[i & rule_mask]].pc != pc)
        i++;
    return (uint32_t)(i & rule_mask);
}

static int grow_rules(void)
{
    uint64_t n = 2 * H.rules_used;
    hp_rule *rules = longer(H.rules, n, sizeof *rules);
    if (!rules)
        return 0;
    H.rules = rules;
    uint32_t *map = zeroes(2 * n, sizeof *map);
    if (!map)
        return 0;
    free(rule_map);
    rule_map = map, rule_mask = 2 * n - 1;
    for (uint32_t i = 1; i < H.rules_used; i++)
        rule_map[rule_slot(H.rules[i].pc)] = i;
    return 1;
}

/* The number of the rule for a return address; 0: there is no memory for one more. */
static uint32_t rule_at(uint64_t pc)
{
    uint32_t at = rule_slot(pc);
    if (rule_map[at])
        return rule_map[at];
    if (!(H.rules_used & (H.rules_used - 1))) {
        if (!grow_rules())
            return 0;
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

static int grow_stacks(void)
{
    uint64_t n = 2 * H.stacks_used, *stacks = longer(H.stacks, n, sizeof *stacks);
    if (!stacks)
        return 0;
    H.stacks = stacks;
    uint32_t *map = zeroes(2 * n, sizeof *map);
    if (!map)
        return 0;
    free(stack_map);
    stack_map = map, stack_mask = 2 * n - 1;
    for (uint32_t i = 1; i < H.stacks_used; i++)
        stack_map[stack_slot(H.frames + (H.stacks[i] >> 8), H.stacks[i] & 255)] = i;
    return 1;
}

/* The number of a stack; 0: there is no memory for one more. */
static uint32_t intern(const uint32_t *numbers, uint64_t n)
{
    uint32_t at = stack_slot(numbers, n);
    if (stack_map[at])
        return stack_map[at];
    if (!(H.stacks_used & (H.stacks_used - 1))) {
        if (!grow_stacks())
            return 0;
        at = stack_slot(numbers, n);
    }
    if (H.frames_used + n > frames_size) {
        uint32_t *frames = longer(H.frames, 2 * frames_size + HP_FRAMES, sizeof *frames);
        if (!frames)
            return 0;
        H.frames = frames, frames_size = 2 * frames_size + HP_FRAMES;
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
    uint64_t n = 0, pc = ret, rbp = R[RBP], at = sp + 8;
    while (n < H.stack_depth) {
        uint32_t number = rule_at(pc);
        const hp_rule *rule = &H.rules[number];
        numbers[n++] = number;
        if (rule->how != HP_GOES_ON) {
            e->flags |= rule->how == HP_ENDS ? 0 : HP_CUT;
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
