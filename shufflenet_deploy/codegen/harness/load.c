/* Background load: processes that keep the machine busy while the network is measured. They end with
   this program, however that ends. */
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_LOAD = 512 };

static pid_t background[MOST_LOAD];
static int background_count;

static void stop_background(void)
{
    for (int i = 0; i < background_count; ++i) {
        kill(background[i], SIGKILL);
        waitpid(background[i], NULL, 0);
    }
    background_count = 0;
}

static void start_background(long count)
{
    const pid_t parent = getpid();
    atexit(stop_background);
    for (long i = 0; i < count; ++i) {
        const pid_t child = fork();
        if (child < 0)
            fail("out-of-memory", "cannot start %ld busy processes: %s", count, strerror(errno));
        if (child == 0) {
            signal(SIGTERM, SIG_DFL);
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (volatile unsigned step = 0; getppid() == parent;)
                for (step = 0; step < 10000000; ++step)
                    ;
            _exit(0);
        }
        background[background_count++] = child;
    }
}

/* CPU time that they have taken so far; -1 where the kernel does not tell. */
static double background_cpu_secs(void)
{
    double total = 0;
    char text[1024];
    for (int i = 0; i < background_count; ++i) {
        unsigned long long user, system;
        const char *rest =
            read_file(text, sizeof text, "/proc/%d/stat", (int)background[i]) ? strrchr(text, ')') : NULL;
        if (!rest || sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user,
                            &system) != 2)
            return -1;
        total += (double)(user + system);
    }
    return total / (double)sysconf(_SC_CLK_TCK);
}
