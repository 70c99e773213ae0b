/* Measures a machine's clock, caches and memory, and prints one JSON object.

       ./memory_probe 0,1,2,3 SECS

   The first of the cores does what is measured of one core, all of them do what is measured of
   several. Every figure is the best of repetitions that take about SECS each.
     clock_ghz   one dependent exclusive-or per cycle
     latency     ns of a load whose address is the one loaded before, in random order over so many
                 bytes, line by line; the translation of addresses is part of it
     bandwidth   GB/s of n cores at once: reading, filling, and copying (bytes that are read)
     caches      what the kernel says of the first core's data caches; may be empty */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LINE = 64, MOST_CORES = 64, LEAST_KIB = 8, MOST_KIB = 64 << 10, STREAM_BYTES = 16 << 20 };
enum { REPETITIONS = 5, LOADS = 64 };

typedef uint64_t vector __attribute__((vector_size(16)));

static double secs;
static int cores[MOST_CORES], core_count;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void fail(const char *what)
{
    printf("{\"error\": \"%s\"}\n", what);
    exit(1);
}

static int pin(int core)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    return sched_setaffinity(0, sizeof set, &set);
}

#define TEN(step) step step step step step step step step step step

static double clock_ghz(void)
{
    double best = 0;
    for (int i = 0; i < REPETITIONS; ++i) {
        uint64_t value = 1, other = 3, rounds = 0;
        const double began = now();
        double took;
        do {
            for (int k = 0; k < 1000; ++k) {
                /* Each waits for the one before: a core does one a cycle. */
                TEN(TEN(value ^= other; __asm__ volatile("" : "+r"(value), "+r"(other));))
            }
            ++rounds;
            took = now() - began;
        } while (took < secs / REPETITIONS);
        const double ghz = (double)rounds * 1e5 / took / 1e9;
        best = ghz > best ? ghz : best;
    }
    return best;
}

static uint64_t dice = 88172645463325252u;

static uint64_t roll(void)
{
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return dice;
}

/* One cycle through all lines in random order. */
static void *chain(char *memory, size_t bytes, uint32_t *order)
{
    const size_t count = bytes / LINE;
    for (size_t i = 0; i < count; ++i)
        order[i] = (uint32_t)i;
    for (size_t i = count - 1; i > 0; --i) {
        const size_t other = roll() % (i + 1);
        const uint32_t kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
    for (size_t i = 0; i < count; ++i)
        *(void **)(memory + (size_t)order[i] * LINE) =
            memory + (size_t)order[(i + 1) % count] * LINE;
    return memory + (size_t)order[0] * LINE;
}

static double latency_ns(char *memory, size_t bytes, uint32_t *order)
{
    void **at = chain(memory, bytes, order);
    for (size_t i = 0; i < bytes / LINE; ++i)
        at = *at;
    double best = 1e9;
    for (int i = 0; i < REPETITIONS; ++i) {
        uint64_t loads = 0;
        const double began = now();
        double took;
        do {
            for (int k = 0; k < 1000 * LOADS; k += LOADS)
                for (int n = 0; n < LOADS; ++n) {
                    at = *at;
                    __asm__ volatile("" : "+r"(at));
                }
            loads += 1000 * LOADS;
            took = now() - began;
        } while (took < secs / REPETITIONS);
        const double each = took / (double)loads * 1e9;
        best = each < best ? each : best;
    }
    return best;
}

/* --- streams -------------------------------------------------------------------------------- */

enum kind { READ, WRITE, COPY, KINDS };
static const char *const names[KINDS] = {"read_gb_s", "fill_gb_s", "copy_gb_s"};

static void stream(enum kind kind, vector *from, vector *to)
{
    const size_t count = STREAM_BYTES / sizeof *from;
    vector sum = {0, 0}, one = {1, 1};
    if (kind == READ)
        for (size_t i = 0; i < count; i += 4) {
            vector a = from[i], b = from[i + 1], c = from[i + 2], d = from[i + 3];
            __asm__ volatile("" : "+m"(a), "+m"(b), "+m"(c), "+m"(d));
            sum ^= a ^ b ^ c ^ d;
        }
    else if (kind == WRITE)
        for (size_t i = 0; i < count; i += 4) {
            to[i] = to[i + 1] = to[i + 2] = to[i + 3] = one;
            __asm__ volatile("" ::: "memory");
        }
    else
        for (size_t i = 0; i < count; i += 4) {
            to[i] = from[i], to[i + 1] = from[i + 1];
            to[i + 2] = from[i + 2], to[i + 3] = from[i + 3];
            __asm__ volatile("" ::: "memory");
        }
    __asm__ volatile("" ::"r"(&sum) : "memory");
}

static pthread_barrier_t together;
static enum kind wanted;
static double streamed[MOST_CORES]; /* GB/s of each core */
static vector *buffers[MOST_CORES];
static atomic_int failed;

static void *stream_for_a_while(void *argument)
{
    const int number = (int)(intptr_t)argument;
    if (pin(cores[number]))
        failed = 1;
    vector *from = buffers[number], *to = from + STREAM_BYTES / sizeof *from;
    stream(wanted, from, to);
    pthread_barrier_wait(&together);
    const double began = now();
    double took, rounds = 0;
    do {
        stream(wanted, from, to);
        ++rounds;
        took = now() - began;
    } while (took < secs);
    streamed[number] = rounds * STREAM_BYTES / took / 1e9;
    pthread_barrier_wait(&together);
    return NULL;
}

static double bandwidth(enum kind kind, int count)
{
    double best = 0;
    wanted = kind;
    for (int i = 0; i < REPETITIONS; ++i) {
        pthread_t threads[MOST_CORES];
        pthread_barrier_init(&together, NULL, (unsigned)count);
        for (int n = 1; n < count; ++n)
            if (pthread_create(&threads[n], NULL, stream_for_a_while, (void *)(intptr_t)n))
                fail("cannot start threads");
        stream_for_a_while((void *)0);
        double sum = streamed[0];
        for (int n = 1; n < count; ++n) {
            pthread_join(threads[n], NULL);
            sum += streamed[n];
        }
        best = sum > best ? sum : best;
    }
    if (failed)
        fail("a core cannot be had");
    return best;
}

/* --- what the kernel says -------------------------------------------------------------------- */

static int read_line(char *text, int size, int core, int index, const char *name)
{
    char path[160];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cache/index%d/%s", core, index,
             name);
    FILE *file = fopen(path, "r");
    text[0] = 0;
    if (!file)
        return 0;
    const int found = fgets(text, size, file) != NULL;
    fclose(file);
    return found;
}

static void print_caches(void)
{
    char type[32], level[32], size[32], ways[32];
    const char *comma = "";
    for (int index = 0; index < 8; ++index) {
        if (!read_line(type, sizeof type, cores[0], index, "type") || type[0] == 'I')
            continue;
        read_line(level, sizeof level, cores[0], index, "level");
        read_line(size, sizeof size, cores[0], index, "size");
        read_line(ways, sizeof ways, cores[0], index, "ways_of_associativity");
        printf("%s{\"level\": %d, \"kib\": %d, \"ways\": %d}", comma, atoi(level), atoi(size),
               atoi(ways));
        comma = ", ";
    }
}

int main(int argc, char **argv)
{
    if (argc != 3 || (secs = atof(argv[2])) <= 0)
        fail("usage: memory_probe CORES SECS");
    for (char *word = strtok(argv[1], ","); word && core_count < MOST_CORES;
         word = strtok(NULL, ","))
        cores[core_count++] = atoi(word);
    if (!core_count || pin(cores[0]))
        fail("the first core cannot be had");
    char *memory = aligned_alloc(4096, (size_t)MOST_KIB << 10);
    uint32_t *order = malloc(((size_t)MOST_KIB << 10) / LINE * sizeof *order);
    if (!memory || !order)
        fail("memory ran out");
    printf("{\"probe\": 1, \"clock_ghz\": %.4f, \"latency\": [", clock_ghz());
    for (size_t kib = LEAST_KIB; kib <= MOST_KIB; kib *= 2)
        printf("%s{\"kib\": %zu, \"ns\": %.3f}", kib > LEAST_KIB ? ", " : "", kib,
               latency_ns(memory, kib << 10, order));
    free(order);
    free(memory);
    for (int n = 0; n < core_count; ++n) {
        buffers[n] = aligned_alloc(4096, 2 * STREAM_BYTES);
        if (!buffers[n])
            fail("memory ran out");
        memset(buffers[n], 1, 2 * STREAM_BYTES);
    }
    fputs("], \"bandwidth\": [", stdout);
    for (int count = 1; count <= core_count; ++count) {
        printf("%s{\"cores\": %d", count > 1 ? ", " : "", count);
        for (int kind = 0; kind < KINDS; ++kind)
            printf(", \"%s\": %.3f", names[kind], bandwidth((enum kind)kind, count));
        putchar('}');
    }
    fputs("], \"caches\": [", stdout);
    print_caches();
    fputs("]}\n", stdout);
    return 0;
}
