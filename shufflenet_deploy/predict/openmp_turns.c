/* OpenMP for a program under an emulator: one thread does the parts of all, one after the other.

       qemu-aarch64 -E LD_PRELOAD=./openmp_turns.so PROGRAM

   In the place of GCC's libgomp, for what ncnn calls of it: parallel regions whose loops are divided
   beforehand. Before each part it makes a system call that does nothing, getpriority with the part's
   number plus one, and with 0 at the end of the region, by which plugin.c tells threads apart. A
   region that waits inside for all its threads cannot be done by turns and ends the program. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int wanted = 1, parts = 1, part;
static int inside;

void GOMP_parallel(void (*region)(void *), void *data, unsigned asked, unsigned flags)
{
    (void)flags;
    const int count = asked ? (int)asked : wanted;
    if (inside || count == 1) { /* a region in a region has one thread */
        const int outer = parts, mine = part;
        parts = 1, part = 0;
        region(data);
        parts = outer, part = mine;
        return;
    }
    inside = 1, parts = count;
    for (part = 0; part < count; ++part) {
        syscall(SYS_getpriority, part + 1, 0);
        region(data);
    }
    inside = 0, parts = 1, part = 0;
    syscall(SYS_getpriority, 0, 0);
}

void GOMP_barrier(void)
{
    if (parts == 1)
        return;
    fputs("threads that wait for each other within a parallel region cannot be predicted\n",
          stderr);
    _exit(1);
}

int omp_get_thread_num(void) { return part; }

int omp_get_num_threads(void) { return parts; }

int omp_in_parallel(void) { return inside; }

void omp_set_num_threads(int count) { wanted = count > 0 ? count : 1; }

int omp_get_max_threads(void) { return wanted; }

int omp_get_num_procs(void) { return wanted; }

int omp_get_dynamic(void) { return 0; }

void omp_set_dynamic(int dynamic) { (void)dynamic; }
