/* System information from procfs and sysfs: clocks, temperatures, battery, memory, affinity, CPU
   features. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#if defined(__aarch64__) || defined(__arm__)
#include <sys/auxv.h>
#elif defined(__x86_64__)
#include <cpuid.h>
#endif

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
static long long meminfo_bytes(const char *text, const char *name)
{
    const char *at = text;
    while (at && strncmp(at, name, strlen(name)) != 0) {
        at = strchr(at, '\n');
        at = at ? at + 1 : NULL;
    }
    return at ? atoll(at + strlen(name)) * 1024 : -1;
}

static void print_number(FILE *to, const char *name, long long value)
{
    if (value < 0)
        fprintf(to, "\"%s\": null", name);
    else
        fprintf(to, "\"%s\": %lld", name, value);
}

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
            print_string(to, text);
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
        print_string(to, names[found++]);
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
        print_number(to, "percent", level && isdigit((unsigned char)text[0]) ? atoll(text) : -1);
        fputs(", ", to);
        print_field(to, "status", read_file(text, sizeof text, "%s/%s/status", folder, name));
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
    print_number(to, "throttled", throttled());
    double load;
    if (getloadavg(&load, 1) == 1)
        fprintf(to, ", \"load_1min\": %.2f, ", load);
    else
        fputs(", \"load_1min\": null, ", to);
    const char *memory = read_file(text, sizeof text, "/proc/meminfo");
    const long long total = meminfo_bytes(memory, "SwapTotal:"),
                    unused = meminfo_bytes(memory, "SwapFree:");
    print_number(to, "memory_available_bytes", meminfo_bytes(memory, "MemAvailable:"));
    fputs(", ", to);
    print_number(to, "swap_used_bytes", total < 0 || unused < 0 ? -1 : total - unused);
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
    print_field(to, "machine", name.machine);
    snprintf(text, sizeof text, "%s-%s-%s", name.sysname, name.release, name.machine);
    fputs(", ", to);
    print_field(to, "system", text);
    fprintf(to, ", \"cores\": %ld, ", sysconf(_SC_NPROCESSORS_CONF));
    print_field(to, "compiler", __VERSION__);
    fputc('}', to);
}

/* The kernel's ru_maxrss survives exec, so that a large parent would show in it; VmHWM does not. */
static long long peak_rss_bytes(void)
{
    static char text[4096];
    struct rusage own;
    const char *status = read_file(text, sizeof text, "/proc/self/status");
    const long long peak = meminfo_bytes(status, "VmHWM:");
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
#if defined(NET_NEEDS_I8MM)
    enum { MATRIX_PRODUCTS = 1 << 13 };
    if (!lacks && !(getauxval(AT_HWCAP2) & MATRIX_PRODUCTS))
        lacks = "matrix products of bytes";
#endif
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
