/* JSON output: the one object on standard output, and the error object that ends the program. */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static FILE *report; /* the real standard output */

static void print_string(FILE *to, const char *text)
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

static void print_field(FILE *to, const char *name, const char *text)
{
    fprintf(to, "\"%s\": ", name);
    if (text)
        print_string(to, text);
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
    print_field(report, "kind", kind);
    fputs(", ", report);
    print_field(report, "message", message);
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
