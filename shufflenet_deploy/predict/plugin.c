/* A TCG plugin of QEMU's user emulation: how often each translated block of a program was executed
   during one inference, and which of its memory accesses missed in simulated caches.

       qemu-aarch64 -plugin plugin.so,out=PREFIX,marker=113,caches=SPEC,caches=SPEC... PROGRAM

   One SPEC describes the data caches of one core as levels joined by '+', each SETSxWAYSxPOLICY
   with lines of 64 bytes, policy "lru" or "random":  128x4xrandom+512x16xrandom . Every hierarchy
   is simulated independently, so its counts do not depend on the others of the same run.

   System calls with the number "marker" cut the execution into intervals. An inference is an
   interval of at least "least" instructions whose total is within 2 % of one of the sixteen before
   it: repeated inferences agree, loading and printing do not repeat.

   The plugin goes through two phases, since to simulate caches makes a program many times slower
   and most of what a runtime in Python executes is loading:
     watching    only totals of instructions are counted, until an interval repeats an earlier one;
     simulating  blocks and accesses are counted. The first inference fills the caches, the second
                 is kept. An inference at least twice as long as those so far starts this phase
                 anew: the short ones were something else that repeats.
   The program is ended, with success, as soon as an inference is kept.
   The caches see inferences only: what another interval did to them is undone as it ends, because
   what a program reads of the system between inferences differs from run to run.

   With every=1 the plugin simulates from the beginning to the end, and each interval of at least one
   instruction is written as it ends.

   With threads=N and turns=CALL a program that has one thread does the work of N by turns: before
   the part of thread t in a parallel region it makes the system call CALL with the argument t + 1,
   and with the argument 0 where one thread, the first, goes on alone. Each turn of the inference
   that is kept is written by itself. The last level of a hierarchy is shared, every other is each
   thread's own: what one thread stores is no longer in the others'.

   Output, one file PREFIX.N per hierarchy (N from 0), lines of text:
       I NUMBER INSTRUCTIONS              every=1 only: the blocks that follow are of this interval
       T TURN INSTRUCTIONS                threads=N only: they are of this turn, 0 or t + 1
       B ADDRESS COUNT CODE               a block (hex), its executions, its instructions (hex)
       M INDEX ACCESSES U1 F1 U2 F2 U3 F3 accesses by the INDEX-th instruction of that block, and its
                                          misses of L1, L2, L3: unforeseen and foreseen
       P INDEX LINES DISTANCE             the same instruction prefetches: lines that were missing
                                          in some L1 and then accessed, and the instructions from
                                          each prefetch to the access, summed, each up to 4096
       counts 1 KEPT INSTRUCTIONS         last: the format, 1 if an inference was kept or 0, and
                                          the instructions of it
   A miss is "foreseen" when a prefetcher that follows 16 streams of lines (+1, +2 or -1) would have
   asked for the line. Misses of a level that a core does not have repeat those of the level above.
   A load into xzr is a prefetch (see prefetches.py): its misses are all unforeseen, and the streams
   do not see them.

   Compile with -DPLUGIN_API=1 for QEMU up to 8.2, -DPLUGIN_API=2 for 9.0 and later. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef PLUGIN_API
#define PLUGIN_API 1
#endif
#define EXPORTED __attribute__((visibility("default")))

/* --- what is used of QEMU's plugin interface ------------------------------------------------ */

typedef uint64_t plugin_id;
typedef uint32_t meminfo;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
/* The head of qemu_info_t, the same in all versions. */
struct info {
    const char *target_name;
    struct {
        int min, cur;
    } version;
};
enum { NO_REGISTERS = 0, READS_AND_WRITES = 3 };
bool qemu_plugin_mem_is_store(meminfo);

typedef void (*translated_fn)(plugin_id, struct qemu_plugin_tb *);
typedef void (*executed_fn)(unsigned, void *);
typedef void (*accessed_fn)(unsigned, meminfo, uint64_t, void *);
typedef void (*syscall_fn)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                           uint64_t, uint64_t, uint64_t, uint64_t);
typedef void (*ended_fn)(plugin_id, void *);
typedef void (*reset_fn)(plugin_id);

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, translated_fn);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *, accessed_fn, int, int, void *);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id, syscall_fn);
void qemu_plugin_register_atexit_cb(plugin_id, ended_fn, void *);
void qemu_plugin_reset(plugin_id, reset_fn); /* no callback is left, and nothing translated */
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
#if PLUGIN_API == 1
enum { INLINE_ADD = 0 };
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *, uint64_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
#else
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, executed_fn, int, void *);
/* From version 3 on it copies; the arguments beyond those of version 2 do no harm there. */
enum { COPYING_API = 3 };
static int api_version;
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *, void *, size_t);
#endif

EXPORTED int qemu_plugin_version = PLUGIN_API;

/* --- caches --------------------------------------------------------------------------------- */

enum { LEVELS = 3, EVENTS = 2 * LEVELS, MOST_HIERARCHIES = 16, STREAMS = 16, LINE_SHIFT = 6 };
enum { MOST_THREADS = 16 };
static const uint64_t NOTHING = ~UINT64_C(0);

struct cache {
    size_t sets, ways; /* no sets: there is no such level */
    bool random;
    uint64_t *lines, *saved; /* now, and when the interval began */
};

/* What a hierarchy remembers beside its lines. */
struct history {
    uint32_t dice; /* of random replacement: a xorshift generator with a fixed seed */
    uint64_t last[STREAMS];
    uint32_t seen[STREAMS], oldest;
};

struct hierarchy {
    struct cache level[LEVELS];
    struct history now, saved;
};

/* As each thread sees them: the last level of all is the first one's. */
static struct hierarchy hierarchies[MOST_THREADS][MOST_HIERARCHIES];
static int hierarchy_count, threads = 1, thread;

static uint32_t roll(struct history *now)
{
    now->dice ^= now->dice << 13;
    now->dice ^= now->dice >> 17;
    now->dice ^= now->dice << 5;
    return now->dice >> 8;
}

/* Whether a line is there; afterwards it is. */
static bool hits(struct history *now, struct cache *cache, uint64_t line)
{
    uint64_t *set = cache->lines + line % cache->sets * cache->ways;
    const size_t ways = cache->ways;
    size_t at = 0;
    while (at < ways && set[at] != line && set[at] != NOTHING)
        ++at;
    const bool found = at < ways && set[at] == line;
    if (cache->random) {
        if (!found)
            set[at < ways ? at : roll(now) % ways] = line;
        return found;
    }
    if (at == ways)
        --at;
    memmove(set + 1, set, at * sizeof *set); /* least recently used last */
    set[0] = line;
    return found;
}

/* A line is no longer there; those behind it close the gap. */
static void drop(struct cache *cache, uint64_t line)
{
    uint64_t *set = cache->lines + line % cache->sets * cache->ways;
    size_t at = 0;
    while (at < cache->ways && set[at] != line)
        ++at;
    if (at == cache->ways)
        return;
    memmove(set + at, set + at + 1, (cache->ways - 1 - at) * sizeof *set);
    set[cache->ways - 1] = NOTHING;
}

/* The last level that there is, which threads share. */
static int last_level(const struct hierarchy *all)
{
    int last = LEVELS - 1;
    while (!all->level[last].sets)
        --last;
    return last;
}

/* What this thread stores is no longer in the caches of the others. */
static void drop_elsewhere(uint64_t line)
{
    for (int other = 0; other < threads; ++other)
        for (int h = 0; other != thread && h < hierarchy_count; ++h) {
            struct hierarchy *all = &hierarchies[other][h];
            for (int i = 0; i < last_level(all); ++i)
                drop(&all->level[i], line);
        }
}

/* Whether a miss of L1 continues a stream that was seen at least twice. */
static bool foreseen(struct history *now, uint64_t line)
{
    for (int i = 0; i < STREAMS; ++i) {
        const int64_t step = (int64_t)(line - now->last[i]);
        if (step == 1 || step == 2 || step == -1) {
            now->last[i] = line;
            return ++now->seen[i] >= 2;
        }
    }
    now->last[now->oldest] = line;
    now->seen[now->oldest] = 0;
    now->oldest = (now->oldest + 1) % STREAMS;
    return false;
}

static bool parse_hierarchy(struct hierarchy *all, const char *text)
{
    all->now.dice = 0x12345678;
    memset(all->now.last, 0xff, sizeof all->now.last);
    for (int i = 0; i < LEVELS && *text; ++i) {
        struct cache *cache = &all->level[i];
        char policy[8];
        int length = 0;
        if (sscanf(text, "%zux%zux%7[a-z]%n", &cache->sets, &cache->ways, policy, &length) != 3)
            return false;
        cache->random = strcmp(policy, "random") == 0;
        const size_t count = cache->sets * cache->ways;
        if (count == 0 || count > (UINT64_C(1) << 24) || (!cache->random && strcmp(policy, "lru")))
            return false;
        cache->lines = malloc(count * sizeof *cache->lines);
        cache->saved = malloc(count * sizeof *cache->saved);
        if (!cache->lines || !cache->saved)
            return false;
        memset(cache->lines, 0xff, count * sizeof *cache->lines);
        text += length;
        if (*text == '+')
            ++text;
    }
    return *text == 0 && all->level[0].sets;
}

/* The caches of the other threads: as large as the first one's, the last level the same. */
static bool share_hierarchies(void)
{
    for (int t = 1; t < threads; ++t)
        for (int h = 0; h < hierarchy_count; ++h) {
            struct hierarchy *all = &hierarchies[t][h];
            *all = hierarchies[0][h];
            for (int i = 0; i < last_level(all); ++i) {
                const size_t bytes = all->level[i].sets * all->level[i].ways * sizeof(uint64_t);
                all->level[i].lines = malloc(bytes);
                all->level[i].saved = malloc(bytes);
                if (!all->level[i].lines || !all->level[i].saved)
                    return false;
                memset(all->level[i].lines, 0xff, bytes);
            }
        }
    return true;
}

/* The line of the last access, which is in every first level of this thread; whether it is in no
   other thread's, for the last access stored to it. */
static uint64_t last_line = ~UINT64_C(0), saved_last_line;
static bool last_stored;

/* Have the caches as they were when the interval began. */
static void restore_caches(void)
{
    last_line = saved_last_line;
    last_stored = false;
    for (int n = 0; n < threads * hierarchy_count; ++n) {
        struct hierarchy *all = &hierarchies[n / hierarchy_count][n % hierarchy_count];
        all->now = all->saved;
        for (int i = 0; i < LEVELS; ++i) {
            struct cache *cache = &all->level[i];
            if (cache->sets)
                memcpy(cache->lines, cache->saved,
                       cache->sets * cache->ways * sizeof *cache->lines);
        }
    }
}

/* An interval begins with the caches as they are. */
static void save_caches(void)
{
    saved_last_line = last_line;
    for (int n = 0; n < threads * hierarchy_count; ++n) {
        struct hierarchy *all = &hierarchies[n / hierarchy_count][n % hierarchy_count];
        all->saved = all->now;
        for (int i = 0; i < LEVELS; ++i) {
            struct cache *cache = &all->level[i];
            if (cache->sets)
                memcpy(cache->saved, cache->lines,
                       cache->sets * cache->ways * sizeof *cache->lines);
        }
    }
}

/* --- blocks --------------------------------------------------------------------------------- */

struct access {
    uint64_t behind; /* instructions of the block from this one on */
    uint64_t count, used_lines, distance;
    uint64_t misses[]; /* EVENTS for each hierarchy */
};

struct block {
    uint64_t address, instructions, count, kept_count;
    uint8_t *code;
    char *accesses, *kept; /* one struct access for each instruction */
    struct block *next, *same_hash;
};

enum { HASHES = 1 << 16 };
static struct block *blocks, *hashed[HASHES];
static const char *out = "counts";
static int64_t marker = 113, turns = -1;
static uint64_t least = 50000, kept_total, intervals;
static bool every, started, resetting;
static FILE *files[MOST_HIERARCHIES];

static enum { WATCHING, SIMULATING } phase;
/* Instructions of the interval while watching; of an inference, once one has repeated. */
static uint64_t watched, inference_total;
/* Inferences since the simulation began. */
static int simulated;

enum { REMEMBERED = 16 };
static uint64_t before[REMEMBERED];
/* Which turn it is, and the instructions of the turns before it in this interval. */
static uint64_t turn, turns_total;
/* Instructions up to the end of the block that is executed. */
static uint64_t executed;

/* Lines that were prefetched and not accessed since, each where its number ends. */
enum { PREFETCHED = 1 << 13, MOST_DISTANCE = 4096 };
static struct prefetched {
    uint64_t line, at;
    struct access *by;
} prefetched[PREFETCHED];

static size_t access_bytes(void)
{
    return sizeof(struct access) + sizeof(uint64_t) * (size_t)(EVENTS * hierarchy_count);
}

static struct access *access_of(char *accesses, size_t index)
{
    return (void *)(accesses + index * access_bytes());
}

static uint64_t now(const struct access *access) { return executed - access->behind; }

/* Have a line in the caches of this thread; whether some first level missed it. */
static bool fetch(struct access *access, uint64_t line, bool prefetches)
{
    bool missed = false;
    for (int h = 0; h < hierarchy_count; ++h) {
        struct hierarchy *all = &hierarchies[thread][h];
        if (hits(&all->now, &all->level[0], line))
            continue;
        missed = true;
        const bool ahead = !prefetches && foreseen(&all->now, line);
        uint64_t *miss = access->misses + EVENTS * h + ahead;
        ++miss[0];
        for (int i = 1; i < LEVELS; ++i) {
            if (all->level[i].sets && hits(&all->now, &all->level[i], line))
                break;
            ++miss[2 * i];
        }
    }
    return missed;
}

static void on_prefetch(unsigned cpu, meminfo info, uint64_t address, void *data)
{
    (void)cpu, (void)info;
    struct access *access = data;
    const uint64_t line = address >> LINE_SHIFT;
    ++access->count;
    if (line == last_line || !fetch(access, line, true))
        return;
    /* The line of the last access may have made room. */
    last_line = NOTHING;
    last_stored = false;
    prefetched[line % PREFETCHED] = (struct prefetched){line, now(access), access};
}

/* A line is accessed, which was prefetched perhaps. */
static void use_prefetched(const struct access *access, uint64_t line)
{
    struct prefetched *one = &prefetched[line % PREFETCHED];
    if (!one->by || one->line != line)
        return;
    const uint64_t distance = now(access) - one->at;
    ++one->by->used_lines;
    one->by->distance += distance < MOST_DISTANCE ? distance : MOST_DISTANCE;
    one->by = NULL;
}

static void on_access(unsigned cpu, meminfo info, uint64_t address, void *data)
{
    (void)cpu;
    struct access *access = data;
    const uint64_t line = address >> LINE_SHIFT;
    ++access->count;
    if (threads > 1 && qemu_plugin_mem_is_store(info) && !(line == last_line && last_stored)) {
        drop_elsewhere(line);
        last_stored = true;
    } else if (line != last_line) {
        last_stored = false;
    }
    if (line == last_line)
        return;
    last_line = line;
    use_prefetched(access, line);
    fetch(access, line, false);
}

#if PLUGIN_API != 1
static void on_block(unsigned cpu, void *data)
{
    (void)cpu;
    struct block *block = data;
    ++block->count;
    executed += block->instructions;
}

static void on_watched(unsigned cpu, void *data)
{
    (void)cpu;
    watched += (uintptr_t)data;
}
#endif

static void read_code(const struct qemu_plugin_insn *insn, uint8_t *code)
{
#if PLUGIN_API == 1
    memcpy(code, qemu_plugin_insn_data(insn), 4);
#else
    uint8_t copied[4] = {0};
    const void *data = qemu_plugin_insn_data(insn, copied, sizeof copied);
    memcpy(code, api_version >= COPYING_API ? (const void *)copied : data, 4);
#endif
}

/* Whether it loads 64 bits into xzr: by an immediate, register or unscaled offset. */
static bool is_prefetch(const uint8_t *code)
{
    const uint32_t word = code[0] | code[1] << 8 | code[2] << 16 | (uint32_t)code[3] << 24;
    return (word & 0xffc0001f) == 0xf940001f || (word & 0xffe00c1f) == 0xf860081f ||
           (word & 0xffe00c1f) == 0xf840001f;
}

static void on_translated(plugin_id id, struct qemu_plugin_tb *tb)
{
    (void)id;
    enum { MOST = 4096 };
    static uint8_t code[4 * MOST];
    const uint64_t address = qemu_plugin_tb_vaddr(tb);
    const size_t count = qemu_plugin_tb_n_insns(tb);
    if (phase == WATCHING) {
#if PLUGIN_API == 1
        qemu_plugin_register_vcpu_tb_exec_inline(tb, INLINE_ADD, &watched, count);
#else
        qemu_plugin_register_vcpu_tb_exec_cb(tb, on_watched, NO_REGISTERS, (void *)count);
#endif
        return;
    }
    if (count > MOST)
        return;
    for (size_t i = 0; i < count; ++i)
        read_code(qemu_plugin_tb_get_insn(tb, i), code + 4 * i);
    struct block **head = &hashed[((address >> 2) ^ (address >> 18) ^ count * 977) % HASHES];
    struct block *block = *head;
    while (block && (block->address != address || block->instructions != count ||
                     memcmp(block->code, code, 4 * count) != 0))
        block = block->same_hash;
    if (!block) {
        block = calloc(1, sizeof *block);
        block->address = address;
        block->instructions = count;
        block->code = malloc(4 * count);
        memcpy(block->code, code, 4 * count);
        block->accesses = calloc(count, access_bytes());
        for (size_t i = 0; i < count; ++i)
            access_of(block->accesses, i)->behind = count - i;
        block->next = blocks;
        blocks = block;
        block->same_hash = *head;
        *head = block;
    }
#if PLUGIN_API == 1
    qemu_plugin_register_vcpu_tb_exec_inline(tb, INLINE_ADD, &block->count, 1);
    qemu_plugin_register_vcpu_tb_exec_inline(tb, INLINE_ADD, &executed, count);
#else
    qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, NO_REGISTERS, block);
#endif
    for (size_t i = 0; i < count; ++i)
        qemu_plugin_register_vcpu_mem_cb(
            qemu_plugin_tb_get_insn(tb, i), is_prefetch(code + 4 * i) ? on_prefetch : on_access,
            NO_REGISTERS, READS_AND_WRITES, access_of(block->accesses, i));
}

/* --- intervals ------------------------------------------------------------------------------ */

static void write_block(const struct block *block, uint64_t count, char *accesses, int h)
{
    FILE *file = files[h];
    fprintf(file, "B %llx %llu ", (unsigned long long)block->address, (unsigned long long)count);
    for (size_t i = 0; i < 4 * block->instructions; ++i)
        fprintf(file, "%02x", block->code[i]);
    fputc('\n', file);
    for (size_t i = 0; i < block->instructions; ++i) {
        const struct access *access = access_of(accesses, i);
        if (!access->count)
            continue;
        fprintf(file, "M %zu %llu", i, (unsigned long long)access->count);
        for (int event = 0; event < EVENTS; ++event)
            fprintf(file, " %llu", (unsigned long long)access->misses[EVENTS * h + event]);
        fputc('\n', file);
        if (access->used_lines)
            fprintf(file, "P %zu %llu %llu\n", i, (unsigned long long)access->used_lines,
                    (unsigned long long)access->distance);
    }
}

static void write_blocks(char kind, uint64_t number, uint64_t total)
{
    for (int h = 0; h < hierarchy_count; ++h) {
        fprintf(files[h], "%c %llu %llu\n", kind, (unsigned long long)number,
                (unsigned long long)total);
        for (const struct block *block = blocks; block; block = block->next)
            if (block->count)
                write_block(block, block->count, block->accesses, h);
    }
}

static bool alike(uint64_t total, uint64_t other)
{
    return (other > total ? other - total : total - other) <= total / 50;
}

/* Whether an interval repeats an earlier one, and every interval remembered. */
static bool repeats(uint64_t total)
{
    bool found = false;
    for (int i = 0; i < REMEMBERED; ++i)
        found = found || alike(total, before[i]);
    before[intervals++ % REMEMBERED] = total;
    return found && total >= least;
}

static uint64_t simulated_total(void)
{
    uint64_t total = 0;
    for (const struct block *block = blocks; block; block = block->next)
        total += block->count * block->instructions;
    return total;
}

static void keep_block(struct block *block)
{
    const size_t size = block->instructions * access_bytes();
    block->kept_count = block->count;
    if (!block->count)
        return;
    if (!block->kept)
        block->kept = malloc(size);
    memcpy(block->kept, block->accesses, size);
}

static void clear_blocks(void)
{
    for (struct block *block = blocks; block; block = block->next) {
        for (size_t i = 0; block->count && i < block->instructions; ++i) {
            struct access *access = access_of(block->accesses, i);
            memset(&access->count, 0, access_bytes() - offsetof(struct access, count));
        }
        block->count = 0;
    }
    memset(prefetched, 0, sizeof prefetched);
}

/* A turn is over. It is written where this may be the inference that is kept. */
static void end_turn(uint64_t next)
{
    const uint64_t total = simulated_total();
    if (simulated && total)
        write_blocks('T', turn, total);
    turns_total += total;
    clear_blocks();
    turn = next;
    thread = next ? (int)next - 1 : 0;
    last_line = NOTHING;
}

/* What was written of an interval is not kept. */
static void forget_turns(void)
{
    for (int h = 0; h < hierarchy_count; ++h)
        rewind(files[h]);
}

/* The program goes on with the callbacks of the other phase. */
static void on_reset(plugin_id id);

static void end_watched(plugin_id id)
{
    const uint64_t total = watched;
    watched = 0;
    if (started && repeats(total)) {
        inference_total = total;
        phase = SIMULATING;
        resetting = true;
        qemu_plugin_reset(id, on_reset);
    }
}

static void finish(void)
{
    for (int h = 0; h < hierarchy_count; ++h) {
        if (!every)
            for (const struct block *block = blocks; block; block = block->next)
                if (block->kept_count)
                    write_block(block, block->kept_count, block->kept, h);
        fprintf(files[h], "counts 1 %d %llu\n", kept_total != 0, (unsigned long long)kept_total);
        fflush(files[h]);
        /* Behind it may be turns of an inference that was not kept. */
        if (ftruncate(fileno(files[h]), ftell(files[h])))
            fprintf(stderr, "plugin: cannot write %s\n", out);
        fclose(files[h]);
    }
}

static void end_simulated(void)
{
    if (threads > 1)
        end_turn(0);
    const uint64_t total = turns_total + simulated_total();
    turns_total = 0;
    const bool repeated = started && repeats(total);
    if (every && started && total)
        write_blocks('I', intervals, total);
    if (repeated && total >= 2 * inference_total) {
        inference_total = total;
        simulated = 0;
    }
    const bool inference = repeated && alike(total, inference_total);
    if (inference && ++simulated == 2 && !every) {
        for (struct block *block = blocks; block; block = block->next)
            keep_block(block);
        kept_total = total;
        finish();
        _exit(0);
    }
    clear_blocks();
    if (threads > 1)
        forget_turns();
    if (!inference && !every)
        restore_caches();
    save_caches();
}

static void end_interval(plugin_id id)
{
    if (phase == WATCHING)
        end_watched(id);
    else
        end_simulated();
    started = true;
}

static void on_syscall(plugin_id id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2,
                       uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)cpu, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    /* Until the reset has happened the old callbacks are still there. */
    if (number == marker && !resetting)
        end_interval(id);
    else if (number == turns && phase == SIMULATING && !resetting && a1 <= (uint64_t)threads)
        end_turn(a1);
}

static void on_end(plugin_id id, void *data)
{
    (void)id, (void)data;
    finish();
}

static void on_reset(plugin_id id)
{
    resetting = false;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translated);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    qemu_plugin_register_atexit_cb(id, on_end, NULL);
}

static bool parse(char *argument)
{
    char *value = strchr(argument, '=');
    if (!value)
        return false;
    *value++ = 0;
    if (strcmp(argument, "out") == 0)
        out = strdup(value);
    else if (strcmp(argument, "marker") == 0)
        marker = atoll(value);
    else if (strcmp(argument, "least") == 0)
        least = strtoull(value, NULL, 10);
    else if (strcmp(argument, "every") == 0)
        every = atoi(value);
    else if (strcmp(argument, "turns") == 0)
        turns = atoll(value);
    else if (strcmp(argument, "threads") == 0)
        return (threads = atoi(value)) >= 1 && threads <= MOST_THREADS;
    else if (strcmp(argument, "caches") == 0 && hierarchy_count < MOST_HIERARCHIES)
        return parse_hierarchy(&hierarchies[0][hierarchy_count++], value);
    else
        return false;
    return true;
}

EXPORTED int qemu_plugin_install(plugin_id id, const struct info *info, int argc, char **argv)
{
#if PLUGIN_API != 1
    api_version = info->version.cur;
#else
    (void)info;
#endif
    for (int i = 0; i < argc; ++i)
        if (!parse(argv[i])) {
            fprintf(stderr, "plugin: bad argument %s\n", argv[i]);
            return -1;
        }
    if (!share_hierarchies()) {
        fprintf(stderr, "plugin: no memory for the caches of %d threads\n", threads);
        return -1;
    }
    for (int h = 0; h < hierarchy_count; ++h) {
        char name[4096];
        snprintf(name, sizeof name, "%s.%d", out, h);
        files[h] = fopen(name, "w");
        if (!files[h])
            return -1;
    }
    phase = every ? SIMULATING : WATCHING;
    save_caches();
    on_reset(id);
    return 0;
}
