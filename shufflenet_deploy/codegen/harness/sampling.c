/* Sampling: the clock, warm-up until two windows agree, samples until both minimums are met, CPU
   usage of others meanwhile, and a profile layer by layer. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static int64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void print_clock(FILE *to)
{
    enum { READINGS = 2001 };
    static int64_t readings[READINGS];
    int64_t step = 0;
    for (int i = 0; i < READINGS; ++i)
        readings[i] = now_ns();
    for (int i = 1; i < READINGS; ++i) {
        const int64_t one = readings[i] - readings[i - 1];
        if (one > 0 && (step == 0 || one < step))
            step = one;
    }
    fprintf(to, "{\"resolution_ns\": %lld, \"read_ns\": %lld}", (long long)(step ? step : 1),
            (long long)((readings[READINGS - 1] - readings[0]) / (READINGS - 1)));
}

/* Durations in ns. */
struct samples {
    int64_t *ns;
    size_t count, room;
};

static void append_sample(struct samples *samples, int64_t ns)
{
    if (samples->count == samples->room) {
        samples->room = samples->room ? 2 * samples->room : 1024;
        samples->ns = realloc(samples->ns, samples->room * sizeof *samples->ns);
        if (!samples->ns)
            fail("out-of-memory", "memory ran out for samples");
    }
    samples->ns[samples->count++] = ns;
}

static void print_samples(FILE *to, const struct samples *samples)
{
    fputc('[', to);
    for (size_t i = 0; i < samples->count; ++i)
        fprintf(to, "%s%lld", i ? ", " : "", (long long)samples->ns[i]);
    fputc(']', to);
}

static int compare_ascending(const void *one, const void *two)
{
    const int64_t a = *(const int64_t *)one, b = *(const int64_t *)two;
    return (a > b) - (a < b);
}

/* The upper median: a value that occurred. */
static int64_t median(const int64_t *values, size_t count)
{
    int64_t *sorted = malloc(count * sizeof *sorted);
    if (!sorted)
        fail("out-of-memory", "memory ran out for samples");
    memcpy(sorted, values, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_ascending);
    const int64_t middle = sorted[count / 2];
    free(sorted);
    return middle;
}

static float *input, *output;
static long threads;
static int by_turns;

static void infer(void)
{
    if (by_turns)
        pool_run_by_turns((int)threads, input, output);
    else if (threads > 1)
        pool_run(input, output, net_probe);
    else
        net_run(input, output);
}

static int64_t run_timed(void)
{
    if (ended_by_signal)
        fail("terminated", "ended by a signal before it was done");
    const int64_t began = now_ns();
    infer();
    return now_ns() - began;
}

/* Whether the medians of the last quarter and the quarter before are the same within 2 %. */
static int windows_agree(const struct samples *samples)
{
    const size_t width = samples->count / 4 > 3 ? samples->count / 4 : 3;
    const int64_t *end = samples->ns + samples->count;
    const double last = (double)median(end - width, width);
    const double before = (double)median(end - 2 * width, width);
    const double apart = before > last ? before - last : last - before;
    return apart <= AGREEMENT * last;
}

/* Infer until both minimums are met and two windows agree, at latest after max_secs; why it ended:
   "agreed", "limit", or "minimum" where no window was asked for (max_secs not above secs). */
static const char *warm_up(struct samples *samples, long runs, double secs, double max_secs)
{
    const int64_t began = now_ns();
    size_t check_at = 6;
    for (;;) {
        const double elapsed = (double)(now_ns() - began) / 1e9;
        if (samples->count >= (size_t)runs && elapsed >= secs) {
            if (max_secs <= secs)
                return "minimum";
            if (elapsed >= max_secs)
                return "limit";
            if (samples->count >= check_at) {
                if (windows_agree(samples))
                    return "agreed";
                check_at = samples->count + (samples->count / 8 ? samples->count / 8 : 1);
            }
        }
        append_sample(samples, run_timed());
    }
}

/* Infer until both minimums are met, at latest after max_secs. */
static void sample(struct samples *samples, long min_runs, double min_secs, double max_secs)
{
    const int64_t min_ns = (int64_t)(min_secs * 1e9), max_ns = (int64_t)(max_secs * 1e9);
    const int64_t started = now_ns();
    for (;;) {
        const int64_t began = now_ns();
        infer();
        const int64_t ended = now_ns();
        append_sample(samples, ended - began);
        const int64_t elapsed = ended - started;
        if (elapsed >= max_ns || (elapsed >= min_ns && samples->count >= (size_t)min_runs))
            return;
        if (ended_by_signal)
            fail("terminated", "ended by a signal before it was done");
    }
}

/* Infer once per arrival, at fixed times, until both minimums are met, at latest after max_secs.
   Arrivals come at the rate whatever happens; one that comes while another is computed waits.
   latencies are the times from each arrival to its result. */
static void sample_at_rate(struct samples *samples, struct samples *latencies, double rate_hz,
                           long min_runs, double min_secs, double max_secs)
{
    const double period_ns = 1e9 / rate_hz;
    const int64_t min_ns = (int64_t)(min_secs * 1e9), max_ns = (int64_t)(max_secs * 1e9);
    const int64_t started = now_ns(), first = started + (int64_t)period_ns;
    for (;;) {
        const int64_t arrival = first + (int64_t)((double)samples->count * period_ns);
        const struct timespec at = {.tv_sec = arrival / 1000000000,
                                    .tv_nsec = arrival % 1000000000};
        while (now_ns() < arrival && !ended_by_signal)
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
        const int64_t began = now_ns();
        infer();
        const int64_t ended = now_ns();
        append_sample(samples, ended - began);
        append_sample(latencies, ended - arrival);
        const int64_t elapsed = ended - started;
        if (elapsed >= max_ns || (elapsed >= min_ns && samples->count >= (size_t)min_runs))
            return;
        if (ended_by_signal)
            fail("terminated", "ended by a signal before it was done");
    }
}

/* What else the machine did between two moments; load_secs is the CPU time of our own load. */
struct cpu_usage {
    int64_t wall_ns;
    double busy_secs, load_secs;
    struct rusage own;
};

/* Seconds all cores together were busy since boot, stolen time included; -1 if unknown. */
static double busy_secs(void)
{
    char text[512];
    long long user, nice, system, idle, wait, irq = 0, soft = 0, steal = 0;
    if (!read_file(text, sizeof text, "/proc/stat") ||
        sscanf(text, "cpu %lld %lld %lld %lld %lld %lld %lld %lld", &user, &nice, &system, &idle,
               &wait, &irq, &soft, &steal) < 4)
        return -1;
    return (double)(user + nice + system + irq + soft + steal) / (double)sysconf(_SC_CLK_TCK);
}

static struct cpu_usage read_cpu_usage(void)
{
    struct cpu_usage here = {
        .wall_ns = now_ns(), .busy_secs = busy_secs(), .load_secs = background_cpu_secs()};
    getrusage(RUSAGE_SELF, &here.own);
    return here;
}

static double cpu_secs(const struct rusage *own)
{
    return (double)(own->ru_utime.tv_sec + own->ru_stime.tv_sec) +
           1e-6 * (double)(own->ru_utime.tv_usec + own->ru_stime.tv_usec);
}

/* Fields of an object. */
static void print_cpu_usage(FILE *to, const struct cpu_usage *then, const struct cpu_usage *now)
{
    const int64_t wall_ns = now->wall_ns - then->wall_ns;
    const double cpu = cpu_secs(&now->own) - cpu_secs(&then->own);
    const double wall_secs = (double)wall_ns / 1e9;
    const int known = then->load_secs >= 0 && now->load_secs >= 0;
    const double load = known ? (now->load_secs - then->load_secs) / wall_secs : 0;
    fprintf(to, "\"wall_ns\": %lld, \"cpu_ns\": %lld, \"preempted\": %ld", (long long)wall_ns,
            (long long)(cpu * 1e9), now->own.ru_nivcsw - then->own.ru_nivcsw);
    /* The kernel counts in ticks of 10 ms: over less than some of them the figure is noise. */
    if (then->busy_secs >= 0 && now->busy_secs > then->busy_secs && wall_ns >= 200000000) {
        const double others = (now->busy_secs - then->busy_secs - cpu) / wall_secs - load;
        fprintf(to, ", \"others_busy_cores\": %.3f", others > 0 ? others : 0);
    } else {
        fputs(", \"others_busy_cores\": null", to);
    }
    fprintf(to, ", \"background_processes\": %d, \"background_busy_cores\": ", background_count);
    if (known)
        fprintf(to, "%.3f", load);
    else
        fputs("null", to);
}

static int64_t probed_ns;
static struct samples *of_layer, probed;

static void probe(int layer)
{
    const int64_t now = now_ns();
    append_sample(&of_layer[layer], now - probed_ns);
    probed_ns = now_ns();
}

/* Take inferences apart; reading the clock between layers is left out of their times. */
static void profile(long runs)
{
    of_layer = calloc(net_layer_count, sizeof *of_layer);
    if (!of_layer)
        fail("out-of-memory", "memory ran out for samples");
    net_probe = probe;
    for (long run = 0; run < runs; ++run) {
        probed_ns = now_ns();
        append_sample(&probed, run_timed());
    }
    net_probe = NULL;
}

static void print_profile(FILE *to)
{
    fputs("{\"method\": \"the clock read between layers\", \"inference_ns\": ", to);
    print_samples(to, &probed);
    fputs(", \"operators\": [", to);
    for (unsigned i = 0; i < net_layer_count; ++i) {
        fputs(i ? ", {" : "{", to);
        print_field(to, "name", net_layers[i].name);
        fputs(", ", to);
        print_field(to, "operator", net_layers[i].step);
        fputs(", \"node\": null, \"ns\": ", to);
        print_samples(to, &of_layer[i]);
        fputc('}', to);
    }
    fputs("]}", to);
}
