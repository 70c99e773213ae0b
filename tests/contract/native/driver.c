/* Runs one inference of a generated network: numbers from standard input to standard output. */
#include <stdio.h>
#include <stdlib.h>

#include "net.h"

int main(void)
{
    float *input = malloc(sizeof(float) * net_input_floats);
    float *output = malloc(sizeof(float) * net_output_floats);
    if (input == NULL || output == NULL || net_init(NULL) != 0)
        return 2;
    if (fread(input, sizeof(float), net_input_floats, stdin) != net_input_floats)
        return 3;
    net_run(input, output);
    net_run(input, output); /* what the first one left behind must not show */
    if (fwrite(output, sizeof(float), net_output_floats, stdout) != net_output_floats)
        return 4;
    free(input);
    free(output);
    return 0;
}
