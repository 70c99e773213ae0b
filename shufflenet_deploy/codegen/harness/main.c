/* Measures the network that is linked in, and prints exactly one JSON object about it.

       ./shufflenet-g3-0.5x-cortex-a72-224x224-fp32.native --min-runs 100

   The same options, the same rules of warming up and sampling, and the same object as those of
   the agent (device_scripts/agent), but a static program: nothing needs to be installed where it
   runs. Only net_run is timed, or with --threads the same by a pool of threads. On failure the object has an
   "error" with "kind" and "message", and the exit status is 1. With --profile N the object also has
   the layers of N more inferences. With --once it infers once, for --output, and prints nothing. With --serve it prints how many floats
   an input and an output have, then infers whatever inputs come on its standard input. With
   --by-turns it starts no threads and does the parts of all one after the other, for emulators. */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#if defined(__aarch64__) || defined(__arm__)
#include <sys/auxv.h>
#elif defined(__x86_64__)
#include <cpuid.h>
#endif

#include "net.h"
#include "thread_pool.h"

#define SCHEMA 1
#define AGENT "shufflenet-deploy"
#ifndef NET_VERSION
#define NET_VERSION "unknown"
#endif

enum { MOST_CORES = 512, MOST_ZONES = 128 };

/* Two windows of the warm-up agree when their medians differ by less than this share. */
static const double AGREEMENT = 0.02;

static const int input_shape[] = {NET_INPUT_SHAPE}, output_shape[] = {NET_OUTPUT_SHAPE};
#define COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))

/* One translation unit: each file is a module whose functions are static. */
#include "json.c"
#include "sysinfo.c"
#include "load.c"
#include "sampling.c"
#include "rng.c"
#include "npy.c"

struct options {
    int list, once, serve, by_turns;
    long threads, warmup_runs, min_runs, profile, background_load;
    double warmup_secs, warmup_max_secs, min_secs, max_secs, rate_hz;
    const char *cpus, *input, *output;
    long seed;
};

static double number(const char *name, const char *text, double least)
{
    char *end;
    const double value = strtod(text, &end);
    if (end == text || *end || !(value >= least) || value > 1e9)
        fail("usage", "%s %s: write a number of at least %g", name, text, least);
    return value;
}

static long count_of_threads(const char *text)
{
    char *end;
    const long value = strtol(text, &end, 10);
    if (end == text || *end || value < 1 || value > NET_MOST_PARTS)
        fail("usage", "--threads %s: write a whole number from 1 to %d", text, NET_MOST_PARTS);
    return value;
}

static void help(void)
{
    fputs(
        "usage: PROGRAM [--list | --once | --serve] [--profile N] [--threads N] [--cpus 0,1,...]\n"
        "               [--warmup-runs N] [--warmup-secs S] [--warmup-max-secs S] [--min-runs N]\n"
        "               [--min-secs S] [--max-secs S] [--input FILE.npy] [--output FILE.npy] [--seed N]\n"
        "               [--rate HZ] [--background-load N] [--by-turns]\n\n"
        "Measures " NET_NAME " for " NET_MACHINE " and prints one JSON object; times are ns.\n",
        stderr);
}

static struct options parse(int argc, char **argv)
{
    struct options found = {
        .threads = 1,
        .warmup_runs = 5,
        .min_runs = 30,
        .warmup_secs = 0.5,
        .warmup_max_secs = 2.0,
        .min_secs = 1.0,
        .max_secs = 30.0,
    };
    for (int i = 1; i < argc; ++i) {
        const char *name = argv[i];
        if (strcmp(name, "-h") == 0 || strcmp(name, "--help") == 0) {
            help();
            exit(0);
        }
        if (strcmp(name, "--list") == 0 || strcmp(name, "--once") == 0) {
            *(name[2] == 'l' ? &found.list : &found.once) = 1;
            continue;
        }
        if (strcmp(name, "--serve") == 0 || strcmp(name, "--by-turns") == 0) {
            *(name[2] == 's' ? &found.serve : &found.by_turns) = 1;
            continue;
        }
        const char *value = i + 1 < argc ? argv[++i] : NULL;
        if (!value)
            fail("usage", "%s is unknown, or its value is missing", name);
        if (strcmp(name, "--threads") == 0)
            found.threads = count_of_threads(value);
        else if (strcmp(name, "--cpus") == 0)
            found.cpus = value;
        else if (strcmp(name, "--warmup-runs") == 0)
            found.warmup_runs = (long)number(name, value, 0);
        else if (strcmp(name, "--warmup-secs") == 0)
            found.warmup_secs = number(name, value, 0);
        else if (strcmp(name, "--warmup-max-secs") == 0)
            found.warmup_max_secs = number(name, value, 0);
        else if (strcmp(name, "--min-runs") == 0)
            found.min_runs = (long)number(name, value, 1);
        else if (strcmp(name, "--min-secs") == 0)
            found.min_secs = number(name, value, 0);
        else if (strcmp(name, "--max-secs") == 0)
            found.max_secs = number(name, value, 0);
        else if (strcmp(name, "--rate") == 0)
            found.rate_hz = number(name, value, 1e-6);
        else if (strcmp(name, "--background-load") == 0)
            found.background_load = (long)number(name, value, 0);
        else if (strcmp(name, "--profile") == 0)
            found.profile = (long)number(name, value, 1);
        else if (strcmp(name, "--input") == 0)
            found.input = value;
        else if (strcmp(name, "--output") == 0)
            found.output = value;
        else if (strcmp(name, "--seed") == 0)
            found.seed = (long)number(name, value, 0);
        else
            fail("usage", "unrecognised option %s", name);
    }
    if (found.background_load > MOST_LOAD)
        fail("usage", "--background-load: at most %d", MOST_LOAD);
    return found;
}

static void print_runtime(FILE *to)
{
    fputs("{\"name\": \"native\", \"version\": \"" NET_VERSION "\", ", to);
    fputs("\"details\": {\"machine\": \"" NET_MACHINE "\", ", to);
    print_field(to, "compiler", __VERSION__);
    fputs("}}", to);
}

static void print_tensor(FILE *to, const char *name, const int *shape, int rank)
{
    fprintf(to, "[{\"name\": \"%s\", \"dtype\": \"float32\", \"shape\": [", name);
    for (int i = 0; i < rank; ++i)
        fprintf(to, "%s%d", i ? ", " : "", shape[i]);
    fputs("]}]", to);
}

static void print_model(FILE *to, const char *program)
{
    struct stat file = {0};
    const char *name = strrchr(program, '/');
    stat("/proc/self/exe", &file);
    fputc('{', to);
    print_field(to, "file", name ? name + 1 : program);
    fprintf(to, ", \"bytes\": %lld, \"inputs\": ", (long long)file.st_size);
    print_tensor(to, "input", input_shape, COUNT(input_shape));
    fputs(", \"outputs\": ", to);
    print_tensor(to, "output", output_shape, COUNT(output_shape));
    fputc('}', to);
}

static void list(FILE *to)
{
    fprintf(to,
            "{\"schema\": %d, \"agent\": \"%s\", \"runtimes\": [{\"name\": \"native\", "
            "\"available\": true, \"version\": \"" NET_VERSION "\"}], \"conditions\": ",
            SCHEMA, AGENT);
    print_conditions(to);
    fputs(", \"cpus\": ", to);
    print_affinity(to);
    fputs(", \"clock\": ", to);
    print_clock(to);
    fputs(", \"platform\": ", to);
    print_platform(to);
    fputs("}\n", to);
}

/* Conditions are read at once and printed at the end. */
static char *conditions(void)
{
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    if (!stream)
        fail("out-of-memory", "memory ran out");
    print_conditions(stream);
    fclose(stream);
    return text;
}

/* Inputs from standard input, each answered by the ns of its inference and its output. */
static void serve(void)
{
    const uint32_t sizes[] = {net_input_floats, net_output_floats};
    fwrite(sizes, sizeof sizes, 1, report);
    fflush(report);
    while (fread(input, sizeof *input, net_input_floats, stdin) == net_input_floats) {
        const int64_t ns = run_timed();
        fwrite(&ns, sizeof ns, 1, report);
        fwrite(output, sizeof *output, net_output_floats, report);
        fflush(report);
    }
}

static void measure(const struct options *options, const char *program)
{
    /* Before this process is pinned: the load is free to run anywhere. */
    start_background(options->background_load);
    if (options->cpus)
        pin(options->cpus);
    char *start = conditions();
    const long long idle_rss = peak_rss_bytes();
    const int64_t began = now_ns();
    if (net_init(NULL) != 0)
        fail("model-corrupt", "no weights are linked in");
    threads = options->threads;
    by_turns = options->by_turns;
    const int error = threads > 1 && !by_turns ? pool_start((int)threads) : 0;
    if (error)
        fail("out-of-memory", "cannot start %ld threads: %s", threads, strerror(error));
    const int64_t load_ns = now_ns() - began;
    input = allocate_image();
    output = aligned_alloc(64, (net_output_floats * sizeof *output + 63) / 64 * 64);
    float *first = malloc(net_output_floats * sizeof *first);
    if (!input || !output || !first)
        fail("out-of-memory", "memory ran out for the image");
    if (options->serve) {
        serve();
        return;
    }
    if (options->input)
        load_image(options->input);
    else
        random_image((uint32_t)options->seed);
    const int64_t first_ns = run_timed();
    if (options->once) {
        if (options->output)
            write_logits(options->output);
        return;
    }
    memcpy(first, output, net_output_floats * sizeof *first);
    struct samples warmup = {0}, samples = {0}, latencies = {0};
    const char *ended =
        warm_up(&warmup, options->warmup_runs, options->warmup_secs, options->warmup_max_secs);
    char *before = conditions();
    const struct cpu_usage then = read_cpu_usage();
    /* Reading the conditions may have started a program: fill the caches again. */
    append_sample(&warmup, run_timed());
    const int64_t began_ns = now_ns();
    if (options->rate_hz > 0)
        sample_at_rate(&samples, &latencies, options->rate_hz, options->min_runs, options->min_secs,
                       options->max_secs);
    else
        sample(&samples, options->min_runs, options->min_secs, options->max_secs);
    const int64_t ended_ns = now_ns();
    const struct cpu_usage now = read_cpu_usage();
    char *after = conditions();
    if (options->output)
        write_logits(options->output);
    if (options->profile)
        profile(options->profile);
    fprintf(report, "{\"schema\": %d, \"agent\": \"%s\", \"runtime\": ", SCHEMA, AGENT);
    print_runtime(report);
    fputs(", \"model\": ", report);
    print_model(report, program);
    fprintf(report, ", \"timed\": \"%s: the picture in place beforehand\", \"threads\": %ld",
            threads > 1 ? "net_run_part by all threads" : "net_run", threads);
    fputs(", \"cpus\": ", report);
    print_affinity(report);
    fputs(", \"clock\": ", report);
    print_clock(report);
    fprintf(report, ", \"import_ns\": 0, \"load_ns\": %lld, \"first_ns\": %lld, \"warmup_ns\": ",
            (long long)load_ns, (long long)first_ns);
    print_samples(report, &warmup);
    fprintf(report, ", \"warmup_ended\": \"%s\", \"samples_ns\": ", ended);
    print_samples(report, &samples);
    fputs(", \"sampling\": ", report);
    fprintf(report, "{\"began_ns\": %lld, \"ended_ns\": %lld, ", (long long)began_ns,
            (long long)ended_ns);
    print_cpu_usage(report, &then, &now);
    fputc('}', report);
    const int same = memcmp(first, output, net_output_floats * sizeof *first) == 0;
    fprintf(report, ", \"outputs_repeat\": %s, \"idle_rss_bytes\": %lld, \"peak_rss_bytes\": %lld",
            same ? "true" : "false", idle_rss, peak_rss_bytes());
#ifdef NET_ARENA_BYTES
    fprintf(report, ", \"arena_bytes\": %lld", (long long)NET_ARENA_BYTES);
#endif
    fprintf(report, ", \"conditions\": {\"start\": %s, \"before\": %s, \"after\": %s}", start,
            before, after);
    fputs(", \"platform\": ", report);
    print_platform(report);
    if (options->rate_hz > 0) {
        fprintf(report, ", \"pace\": {\"rate_hz\": %.17g, \"latency_ns\": ", options->rate_hz);
        print_samples(report, &latencies);
        fputc('}', report);
    }
    if (options->profile) {
        fputs(", \"profile\": ", report);
        print_profile(report);
    }
    fputs("}\n", report);
}

/* When memory runs out, the kernel shall end this process and not the login service. */
static void set_oom_score_adj(void)
{
    const int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (file >= 0 && write(file, "1000", 4) < 0)
        errno = 0; /* nothing to be done about it */
    if (file >= 0)
        close(file);
}

int main(int argc, char **argv)
{
    report = stdout;
    check_processor();
    signal(SIGTERM, on_signal);
    set_oom_score_adj();
    const struct options options = parse(argc, argv);
    if (options.list)
        list(report);
    else
        measure(&options, argv[0]);
    if (threads > 1 && !by_turns)
        pool_end();
    return fflush(report) == 0 ? 0 : 1;
}
