/* Measures the network that is linked in, and prints exactly one JSON object about it.

       ./shufflenet-g3-0.5x-cortex-a72-224x224-fp32.native --min-runs 100

   The same options, the same rules of warming up and sampling, and the same object as those of
   device_scripts/agent.py, but a static program: nothing needs to be installed where it runs. Only
   net_run is timed, or with --threads the same by a pool of threads. On failure the object has an
   "error" with "kind" and "message", and the exit status is 1. With --profile N the object also has
   the layers of N more inferences. With --once it infers once, for --output, and prints nothing. */
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

/* --- the one object ------------------------------------------------------------------------- */

static FILE *report; /* the real standard output */

static void print_text(FILE *to, const char *text)
{
    fputc('"', to);
    for (const unsigned char *at = (const unsigned char *)text; *at; ++at) {
        if (*at == '"' || *at == '\\')
            fprintf(to, "\\%c", *at);
        else if (*at < 0x20 || *at >= 0x7f)
            fprintf(to, "\\u%04x", *at);
        else
            fputc(*at, to);
    }
    fputc('"', to);
}

static void field(FILE *to, const char *name, const char *text)
{
    fprintf(to, "\"%s\": ", name);
    if (text)
        print_text(to, text);
    else
        fputs("null", to);
}

static void print_conditions(FILE *to);
static void print_platform(FILE *to);

/* This model cannot be measured here: print why, and end. */
static _Noreturn void fail(const char *kind, const char *format, ...)
{
    char message[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    fprintf(report, "{\"schema\": %d, \"agent\": \"%s\", \"error\": {", SCHEMA, AGENT);
    field(report, "kind", kind);
    fputs(", ", report);
    field(report, "message", message);
    fputs("}, \"conditions_at_failure\": ", report);
    print_conditions(report);
    fputs(", \"platform\": ", report);
    print_platform(report);
    fputs("}\n", report);
    fflush(report);
    _exit(1);
}

static volatile sig_atomic_t ended_by_signal;

static void on_signal(int number)
{
    (void)number;
    ended_by_signal = 1;
}

/* --- files of the kernel -------------------------------------------------------------------- */

/* The first bytes of a file without white space at the end; NULL when it cannot be read. */
static char *read_file(char *text, size_t size, const char *format, ...)
{
    char path[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(path, sizeof path, format, arguments);
    va_end(arguments);
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return NULL;
    size_t length = 0;
    ssize_t got;
    while (length + 1 < size && (got = read(file, text + length, size - 1 - length)) > 0)
        length += (size_t)got;
    close(file);
    while (length && isspace((unsigned char)text[length - 1]))
        --length;
    text[length] = 0;
    return length ? text : NULL;
}

/* A figure of /proc/meminfo or /proc/self/status in bytes; -1 when it is not told. */
static long long kilobytes(const char *text, const char *name)
{
    const char *at = text;
    while (at && strncmp(at, name, strlen(name)) != 0) {
        at = strchr(at, '\n');
        at = at ? at + 1 : NULL;
    }
    return at ? atoll(at + strlen(name)) * 1024 : -1;
}

static void print_known(FILE *to, const char *name, long long value)
{
    if (value < 0)
        fprintf(to, "\"%s\": null", name);
    else
        fprintf(to, "\"%s\": %lld", name, value);
}

/* --- the machine ---------------------------------------------------------------------------- */

static void print_per_core(FILE *to, const char *name, int number)
{
    char text[64], folder[64];
    const char *comma = "";
    fputc('{', to);
    for (int core = 0; core < MOST_CORES; ++core) {
        snprintf(folder, sizeof folder, "/sys/devices/system/cpu/cpu%d", core);
        if (access(folder, F_OK) != 0)
            break;
        if (!read_file(text, sizeof text, "%s/cpufreq/%s", folder, name))
            continue;
        if (number && !isdigit((unsigned char)text[0]))
            continue;
        fprintf(to, "%s\"%d\": ", comma, core);
        if (number)
            fprintf(to, "%lld", atoll(text));
        else
            print_text(to, text);
        comma = ", ";
    }
    fputc('}', to);
}

static void print_temperatures(FILE *to)
{
    static char names[MOST_ZONES][80];
    char text[64];
    int found = 0;
    fputc('{', to);
    for (int zone = 0; zone < MOST_ZONES; ++zone) {
        const char *folder = "/sys/class/thermal/thermal_zone";
        if (!read_file(text, sizeof text, "%s%d/temp", folder, zone))
            continue;
        char *end;
        const double value = strtod(text, &end);
        /* The kernel says millidegrees; some phones' drivers say degrees. */
        const double celsius = value > 200 || value < -200 ? value / 1000 : value;
        if (end == text || celsius <= -50 || celsius >= 200)
            continue;
        if (!read_file(text, sizeof text, "%s%d/type", folder, zone))
            strcpy(text, "zone");
        snprintf(names[found], sizeof names[found], "%s", text);
        for (int other = 0; other < found; ++other)
            if (strcmp(names[other], text) == 0)
                snprintf(names[found], sizeof names[found], "%s-%d", text, zone);
        fputs(found ? ", " : "", to);
        print_text(to, names[found++]);
        fprintf(to, ": %.3f", celsius);
    }
    fputc('}', to);
}

/* Throttle bits of a Raspberry Pi's firmware, from its program or from sysfs; -1 if unknown. */
static long long throttled(void)
{
    static const char *const programs[] = {"/usr/bin/vcgencmd", "/opt/vc/bin/vcgencmd"};
    char text[128];
    for (int i = 0; i < COUNT(programs); ++i) {
        if (access(programs[i], X_OK) != 0)
            continue;
        snprintf(text, sizeof text, "%s get_throttled 2>/dev/null", programs[i]);
        FILE *said = popen(text, "r");
        const char *bits = said && fgets(text, sizeof text, said) ? strchr(text, '=') : NULL;
        const long long value = bits ? strtoll(bits + 1, NULL, 16) : -1;
        if (said && pclose(said) == 0 && value >= 0)
            return value;
    }
    const char *file = "/sys/devices/platform/soc/soc:firmware/get_throttled";
    return read_file(text, sizeof text, "%s", file) ? strtoll(text, NULL, 16) : -1;
}

static void print_battery(FILE *to)
{
    const char *folder = "/sys/class/power_supply";
    char text[64];
    DIR *supplies = opendir(folder);
    struct dirent *supply = NULL;
    while (supplies && (supply = readdir(supplies)))
        if (supply->d_name[0] != '.' &&
            read_file(text, sizeof text, "%s/%s/type", folder, supply->d_name) &&
            strcmp(text, "Battery") == 0)
            break;
    if (supply) {
        const char *name = supply->d_name;
        const int level = read_file(text, sizeof text, "%s/%s/capacity", folder, name) != NULL;
        fputc('{', to);
        print_known(to, "percent", level && isdigit((unsigned char)text[0]) ? atoll(text) : -1);
        fputs(", ", to);
        field(to, "status", read_file(text, sizeof text, "%s/%s/status", folder, name));
        if (read_file(text, sizeof text, "%s/%s/temp", folder, name) &&
            isdigit((unsigned char)text[0]))
            fprintf(to, ", \"temperature_c\": %.1f}", (double)atoll(text) / 10);
        else
            fputs(", \"temperature_c\": null}", to);
    } else {
        fputs("null", to);
    }
    if (supplies)
        closedir(supplies);
}

static void print_conditions(FILE *to)
{
    static char text[8192];
    char moment[32];
    const time_t now = time(NULL);
    struct tm utc;
    strftime(moment, sizeof moment, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    fprintf(to, "{\"at\": \"%s\", \"governors\": ", moment);
    print_per_core(to, "scaling_governor", 0);
    fputs(", \"frequency_khz\": ", to);
    print_per_core(to, "scaling_cur_freq", 1);
    fputs(", \"temperature_c\": ", to);
    print_temperatures(to);
    fputs(", ", to);
    print_known(to, "throttled", throttled());
    double load;
    if (getloadavg(&load, 1) == 1)
        fprintf(to, ", \"load_1min\": %.2f, ", load);
    else
        fputs(", \"load_1min\": null, ", to);
    const char *memory = read_file(text, sizeof text, "/proc/meminfo");
    const long long total = kilobytes(memory, "SwapTotal:"), unused = kilobytes(memory, "SwapFree:");
    print_known(to, "memory_available_bytes", kilobytes(memory, "MemAvailable:"));
    fputs(", ", to);
    print_known(to, "swap_used_bytes", total < 0 || unused < 0 ? -1 : total - unused);
    fputs(", \"battery\": ", to);
    print_battery(to);
    fputc('}', to);
}

static void print_platform(FILE *to)
{
    struct utsname name;
    char text[256];
    uname(&name);
    fputc('{', to);
    field(to, "machine", name.machine);
    snprintf(text, sizeof text, "%s-%s-%s", name.sysname, name.release, name.machine);
    fputs(", ", to);
    field(to, "system", text);
    fprintf(to, ", \"cores\": %ld, ", sysconf(_SC_NPROCESSORS_CONF));
    field(to, "compiler", __VERSION__);
    fputc('}', to);
}

/* The kernel's ru_maxrss survives exec, so that a large parent would show in it; VmHWM does not. */
static long long peak_rss_bytes(void)
{
    static char text[4096];
    struct rusage own;
    const char *status = read_file(text, sizeof text, "/proc/self/status");
    const long long peak = kilobytes(status, "VmHWM:");
    getrusage(RUSAGE_SELF, &own);
    return peak > 0 ? peak : (long long)own.ru_maxrss * 1024;
}

static void print_affinity(FILE *to)
{
    cpu_set_t cores;
    if (sched_getaffinity(0, sizeof cores, &cores) != 0) {
        fputs("null", to);
        return;
    }
    const char *comma = "";
    fputc('[', to);
    for (int core = 0; core < CPU_SETSIZE; ++core)
        if (CPU_ISSET(core, &cores)) {
            fprintf(to, "%s%d", comma, core);
            comma = ", ";
        }
    fputc(']', to);
}

static void pin(const char *cores)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (const char *at = cores; *at;) {
        char *end;
        const long core = strtol(at, &end, 10);
        if (end == at || core < 0 || core >= CPU_SETSIZE || (*end && *end != ','))
            fail("usage", "--cpus %s: write core numbers, such as 0,1", cores);
        CPU_SET((int)core, &set);
        at = *end ? end + 1 : end;
    }
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        fail("usage", "cannot run on cores %s: %s", cores, strerror(errno));
}

/* Leave before the first instruction that this processor does not have. */
static void check_processor(void)
{
    const char *lacks = NULL;
#if defined(NET_NEEDS_ASIMDDP)
    enum { DOT_PRODUCTS = 1 << 20 };
    lacks = getauxval(AT_HWCAP) & DOT_PRODUCTS ? NULL : "dot products";
#elif defined(NET_NEEDS_NEON)
    enum { NEON = 1 << 12, VFPV4 = 1 << 16 };
    lacks = (getauxval(AT_HWCAP) & (NEON | VFPV4)) == (NEON | VFPV4) ? NULL : "NEON with VFPv4";
#elif defined(NET_NEEDS_AVX2) || defined(NET_NEEDS_AVX512F)
    unsigned a, b, c, d;
    const int known = __get_cpuid_count(7, 0, &a, &b, &c, &d);
#if defined(NET_NEEDS_AVX512F)
    const unsigned needed = bit_AVX512F | bit_AVX512VL | bit_AVX512BW | bit_AVX512DQ;
#else
    const unsigned needed = bit_AVX2;
#endif
    lacks = known && (b & needed) == needed ? NULL : "vectors of its width";
#if defined(NET_NEEDS_AVX512_VNNI)
    const unsigned dots = bit_AVX512VNNI | bit_AVX512VBMI;
    if (!lacks && (c & dots) != dots)
        lacks = "dot products of bytes";
#elif defined(NET_NEEDS_AVX_VNNI)
    if (!lacks && !(__get_cpuid_count(7, 1, &a, &b, &c, &d) && a & bit_AVXVNNI))
        lacks = "dot products of bytes";
#endif
#endif
    if (lacks)
        fail("unsupported", "this program is for " NET_MACHINE ", and this processor has no %s",
             lacks);
}

/* --- time ----------------------------------------------------------------------------------- */

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

static void keep(struct samples *samples, int64_t ns)
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

static int smaller_first(const void *one, const void *two)
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
    qsort(sorted, count, sizeof *sorted, smaller_first);
    const int64_t middle = sorted[count / 2];
    free(sorted);
    return middle;
}

/* --- measuring ------------------------------------------------------------------------------ */

static float *input, *output;
static long threads;

static void infer(void)
{
    if (threads > 1)
        pool_run(input, output, net_probe);
    else
        net_run(input, output);
}

static int64_t timed(void)
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
        keep(samples, timed());
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
        keep(samples, ended - began);
        const int64_t elapsed = ended - started;
        if (elapsed >= max_ns || (elapsed >= min_ns && samples->count >= (size_t)min_runs))
            return;
        if (ended_by_signal)
            fail("terminated", "ended by a signal before it was done");
    }
}

/* What else the machine did between two moments. */
struct surroundings {
    int64_t wall_ns;
    double busy_secs;
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

static struct surroundings look_around(void)
{
    struct surroundings here = {.wall_ns = now_ns(), .busy_secs = busy_secs()};
    getrusage(RUSAGE_SELF, &here.own);
    return here;
}

static double cpu_secs(const struct rusage *own)
{
    return (double)(own->ru_utime.tv_sec + own->ru_stime.tv_sec) +
           1e-6 * (double)(own->ru_utime.tv_usec + own->ru_stime.tv_usec);
}

static void print_between(FILE *to, const struct surroundings *then, const struct surroundings *now)
{
    const int64_t wall_ns = now->wall_ns - then->wall_ns;
    const double cpu = cpu_secs(&now->own) - cpu_secs(&then->own);
    fprintf(to, "{\"wall_ns\": %lld, \"cpu_ns\": %lld, \"preempted\": %ld, ", (long long)wall_ns,
            (long long)(cpu * 1e9), now->own.ru_nivcsw - then->own.ru_nivcsw);
    /* The kernel counts in ticks of 10 ms: over less than some of them the figure is noise. */
    if (then->busy_secs >= 0 && now->busy_secs > then->busy_secs && wall_ns >= 200000000) {
        const double others = (now->busy_secs - then->busy_secs - cpu) / ((double)wall_ns / 1e9);
        fprintf(to, "\"others_busy_cores\": %.3f}", others > 0 ? others : 0);
    } else {
        fputs("\"others_busy_cores\": null}", to);
    }
}

/* --- inputs and outputs --------------------------------------------------------------------- */

/* numpy's RandomState: the same picture as the other runtimes are given. */
static uint32_t twister[624];

static void seed_twister(uint32_t seed)
{
    for (int i = 0; i < 624; ++i) {
        twister[i] = seed;
        seed = 1812433253u * (seed ^ (seed >> 30)) + (uint32_t)i + 1;
    }
}

static uint32_t next_random(void)
{
    static int at = 624;
    if (at == 624) {
        for (int i = 0; i < 624; ++i) {
            const uint32_t y = (twister[i] & 0x80000000u) | (twister[(i + 1) % 624] & 0x7fffffffu);
            twister[i] = twister[(i + 397) % 624] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
        }
        at = 0;
    }
    uint32_t y = twister[at++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

/* In large pages if it is large, as arrays are that other runtimes are given. */
static float *picture_memory(void)
{
    const size_t bytes = net_input_floats * sizeof(float), large = 2u << 20;
    const size_t align = bytes >= 2 * large ? large : 64, whole = (bytes + align - 1) / align * align;
    float *found = aligned_alloc(align, whole);
#ifdef MADV_HUGEPAGE
    if (found && align == large)
        (void)madvise(found, whole, MADV_HUGEPAGE);
#endif
    return found;
}

/* Seeded uniform values in [-1, 1). */
static void random_picture(uint32_t seed)
{
    seed_twister(seed);
    for (unsigned i = 0; i < net_input_floats; ++i) {
        const double high = next_random() >> 5, low = next_random() >> 6;
        input[i] = (float)(-1.0 + 2.0 * ((high * 67108864.0 + low) / 9007199254740992.0));
    }
}

/* A shape as numpy writes it: "(1, 3, 224, 224)". */
static const char *shape_text(char *text, size_t size, const int *shape, int rank)
{
    size_t length = (size_t)snprintf(text, size, "(");
    for (int i = 0; i < rank; ++i)
        length += (size_t)snprintf(text + length, size - length, i ? ", %d" : "%d", shape[i]);
    snprintf(text + length, size - length, rank == 1 ? ",)" : ")");
    return text;
}

static void load_picture(const char *path)
{
    unsigned char head[10];
    char header[1024], wanted[80];
    FILE *file = fopen(path, "rb");
    if (!file)
        fail("usage", "%s cannot be read as .npy: %s", path, strerror(errno));
    size_t length = 0;
    if (fread(head, 1, sizeof head, file) == sizeof head && memcmp(head, "\x93NUMPY\x01", 7) == 0)
        length = head[8] + 256u * head[9];
    if (length == 0 || length >= sizeof header || fread(header, 1, length, file) != length)
        fail("usage", "%s cannot be read as .npy: it is none of version 1", path);
    header[length] = 0;
    shape_text(wanted, sizeof wanted, input_shape, COUNT(input_shape));
    if (!strstr(header, "'<f4'") || strstr(header, "True"))
        fail("usage", "%s is not of float32 in C order", path);
    if (!strstr(header, wanted))
        fail("usage", "%s has another shape than the model's input, %s", path, wanted);
    if (fread(input, sizeof *input, net_input_floats, file) != net_input_floats)
        fail("usage", "%s ends early", path);
    fclose(file);
}

/* Write the scores whole or not at all. */
static void write_scores(const char *path)
{
    char partial[4096], shape[80], header[128];
    snprintf(partial, sizeof partial, "%s.partial", path);
    int length = snprintf(header, sizeof header,
                          "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }",
                          shape_text(shape, sizeof shape, output_shape, COUNT(output_shape)));
    const int whole = 118; /* with the ten bytes before it, a multiple of 64 */
    memset(header + length, ' ', (size_t)(whole - 1 - length));
    header[whole - 1] = '\n';
    FILE *file = fopen(partial, "wb");
    const int good = file && fwrite("\x93NUMPY\x01\x00\x76\x00", 1, 10, file) == 10 &&
                     fwrite(header, 1, (size_t)whole, file) == (size_t)whole &&
                     fwrite(output, sizeof *output, net_output_floats, file) == net_output_floats;
    if (!file || fclose(file) != 0 || !good || rename(partial, path) != 0) {
        const int error = errno;
        unlink(partial);
        fail("usage", "cannot write %s: %s", path, strerror(error));
    }
}

/* --- layers --------------------------------------------------------------------------------- */

static int64_t probed_ns;
static struct samples *of_layer, probed;

static void probe(int layer)
{
    const int64_t now = now_ns();
    keep(&of_layer[layer], now - probed_ns);
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
        keep(&probed, timed());
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
        field(to, "name", net_layers[i].name);
        fputs(", ", to);
        field(to, "operator", net_layers[i].step);
        fputs(", \"node\": null, \"ns\": ", to);
        print_samples(to, &of_layer[i]);
        fputc('}', to);
    }
    fputs("]}", to);
}

/* --- the program ---------------------------------------------------------------------------- */

struct options {
    int list, once;
    long threads, warmup_runs, min_runs, profile;
    double warmup_secs, warmup_max_secs, min_secs, max_secs;
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
    fputs("usage: PROGRAM [--list | --once] [--profile N] [--threads N] [--cpus 0,1,...]\n"
          "               [--warmup-runs N] [--warmup-secs S] [--warmup-max-secs S] [--min-runs N]\n"
          "               [--min-secs S] [--max-secs S] [--input FILE.npy] [--output FILE.npy] [--seed N]\n\n"
          "Measures " NET_NAME " for " NET_MACHINE " and prints one JSON object; times are ns.\n",
          stderr);
}

static struct options parse(int argc, char **argv)
{
    struct options found = {
        .threads = 1, .warmup_runs = 5, .min_runs = 30, .warmup_secs = 0.5,
        .warmup_max_secs = 2.0, .min_secs = 1.0, .max_secs = 30.0,
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
    return found;
}

static void print_runtime(FILE *to)
{
    fputs("{\"name\": \"native\", \"version\": \"" NET_VERSION "\", ", to);
    fputs("\"details\": {\"machine\": \"" NET_MACHINE "\", ", to);
    field(to, "compiler", __VERSION__);
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
    field(to, "file", name ? name + 1 : program);
    fprintf(to, ", \"bytes\": %lld, \"inputs\": ", (long long)file.st_size);
    print_tensor(to, "input", input_shape, COUNT(input_shape));
    fputs(", \"outputs\": ", to);
    print_tensor(to, "output", output_shape, COUNT(output_shape));
    fputc('}', to);
}

static void list(FILE *to)
{
    fprintf(to, "{\"schema\": %d, \"agent\": \"%s\", \"runtimes\": [{\"name\": \"native\", "
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

static void measure(const struct options *options, const char *program)
{
    if (options->cpus)
        pin(options->cpus);
    char *start = conditions();
    const long long idle_rss = peak_rss_bytes();
    const int64_t began = now_ns();
    if (net_init(NULL) != 0)
        fail("model-corrupt", "no weights are linked in");
    threads = options->threads;
    const int error = threads > 1 ? pool_start((int)threads) : 0;
    if (error)
        fail("out-of-memory", "cannot start %ld threads: %s", threads, strerror(error));
    const int64_t load_ns = now_ns() - began;
    input = picture_memory();
    output = aligned_alloc(64, (net_output_floats * sizeof *output + 63) / 64 * 64);
    float *first = malloc(net_output_floats * sizeof *first);
    if (!input || !output || !first)
        fail("out-of-memory", "memory ran out for the picture");
    if (options->input)
        load_picture(options->input);
    else
        random_picture((uint32_t)options->seed);
    const int64_t first_ns = timed();
    if (options->once) {
        if (options->output)
            write_scores(options->output);
        return;
    }
    memcpy(first, output, net_output_floats * sizeof *first);
    struct samples warmup = {0}, samples = {0};
    const char *ended = warm_up(&warmup, options->warmup_runs, options->warmup_secs,
                                options->warmup_max_secs);
    char *before = conditions();
    const struct surroundings then = look_around();
    /* Reading the conditions may have started a program: fill the caches again. */
    keep(&warmup, timed());
    sample(&samples, options->min_runs, options->min_secs, options->max_secs);
    const struct surroundings now = look_around();
    char *after = conditions();
    if (options->output)
        write_scores(options->output);
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
    print_between(report, &then, &now);
    const int same = memcmp(first, output, net_output_floats * sizeof *first) == 0;
    fprintf(report, ", \"outputs_repeat\": %s, \"idle_rss_bytes\": %lld, \"peak_rss_bytes\": %lld",
            same ? "true" : "false", idle_rss, peak_rss_bytes());
    fprintf(report, ", \"conditions\": {\"start\": %s, \"before\": %s, \"after\": %s}", start,
            before, after);
    fputs(", \"platform\": ", report);
    print_platform(report);
    if (options->profile) {
        fputs(", \"profile\": ", report);
        print_profile(report);
    }
    fputs("}\n", report);
}

/* When memory runs out, the kernel shall end this process and not the login service. */
static void be_first_to_go(void)
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
    be_first_to_go();
    const struct options options = parse(argc, argv);
    if (options.list)
        list(report);
    else
        measure(&options, argv[0]);
    if (threads > 1)
        pool_end();
    return fflush(report) == 0 ? 0 : 1;
}
