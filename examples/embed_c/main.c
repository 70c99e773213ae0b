/* A program of your own around the generated network: weights loaded at run time, one inference.

     ./infer net.weights < input.f32 > logits.f32

   Standard input is one preprocessed image, float32 in NCHW order (net.h states the preprocessing);
   standard output gets the logits, float32. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "net.h"

/* net_init asks for 64-byte alignment, and keeps the pointer. */
static void *read_weights(const char *path)
{
    size_t rounded = (NET_WEIGHTS_BYTES + 63u) / 64u * 64u;
    FILE *file = fopen(path, "rb");
    void *weights = file ? aligned_alloc(64, rounded) : NULL;
    size_t count = weights ? fread(weights, 1, NET_WEIGHTS_BYTES, file) : 0;
    if (file)
        fclose(file);
    return count == NET_WEIGHTS_BYTES ? weights : NULL;
}

int main(int argc, char **argv)
{
    static float input[NET_INPUT_FLOATS], logits[NET_OUTPUT_FLOATS];
    void *weights = argc == 2 ? read_weights(argv[1]) : NULL;
    struct timespec begin, end;

    if (!weights) {
        fprintf(stderr, "usage: %s net.weights < input.f32 > logits.f32\n", argv[0]);
        return 2;
    }
    if (net_init(weights) != 0 || fread(input, sizeof input, 1, stdin) != 1)
        return 1;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    net_run(input, logits);
    clock_gettime(CLOCK_MONOTONIC, &end);
    fprintf(stderr, "%s on %s: %.3f ms for the first inference\n", NET_NAME, NET_MACHINE,
            (end.tv_sec - begin.tv_sec) * 1e3 + (end.tv_nsec - begin.tv_nsec) * 1e-6);
    return fwrite(logits, sizeof logits, 1, stdout) == 1 ? 0 : 1;
}
