/* Threads that do the inferences of the network that is linked in, each its part. */
#ifndef THREAD_POOL_H
#define THREAD_POOL_H

/* Start so many threads, of which the caller is one; they run where the caller may. Returns 0, or
   the number of an error. */
int pool_start(int threads);

/* One inference by all of them. `done` is called with each layer that is done, unless NULL. */
void pool_run(const float *input, float *output, void (*done)(int layer));

/* One inference whose parts the caller does one after the other, in the place of so many threads.
   Before each it makes a system call that does nothing, getpriority with the part's number plus one,
   and with 0 at the end: for emulators, which count the work of every thread by these calls. */
void pool_run_by_turns(int parts, const float *input, float *output);

/* Let the threads go. */
void pool_end(void);

#endif
