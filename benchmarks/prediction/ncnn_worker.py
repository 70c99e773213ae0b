"""Runs on ARM: four inferences as ncnn's benchmark makes them, a system call before and after each.

python worker.py FOLDER_OF_THE_MODULE NETWORK.param SIDE fp32|fp16 THREADS
"""

import os
import sys

# The extension module itself: the package around it imports what is not needed here.
sys.path.insert(0, sys.argv[1])
import ncnn


def network(path, half, threads, blobs, workspace):
    """A network with zeroed weights and the options of the benchmark."""
    net = ncnn.Net()
    options = net.opt
    options.blob_allocator = blobs
    options.workspace_allocator = workspace
    options.lightmode = True
    options.num_threads = threads
    options.use_winograd_convolution = True
    options.use_sgemm_convolution = True
    options.use_int8_inference = True
    options.use_vulkan_compute = False
    options.use_fp16_packed = half
    options.use_fp16_storage = half
    options.use_fp16_arithmetic = half
    options.use_int8_storage = True
    options.use_int8_arithmetic = True
    options.use_packing_layout = True
    ncnn.set_omp_num_threads(threads)
    net.load_param(path)
    net.load_model(ncnn.DataReaderFromEmpty())
    return net


def main():
    """Infer four times; the plugin takes the fourth."""
    blobs, workspace = ncnn.UnlockedPoolAllocator(), ncnn.PoolAllocator()
    for allocator in (blobs, workspace):
        allocator.set_size_compare_ratio(0.0)
    side = int(sys.argv[3])
    net = network(sys.argv[2], sys.argv[4] == "fp16", int(sys.argv[5]), blobs, workspace)
    image = ncnn.Mat(side, side, 3)
    image.fill(0.01)
    for _ in range(4):
        os.getppid()
        extractor = net.create_extractor()
        extractor.input(net.input_names()[0], image)
        for name in net.output_names():
            extractor.extract(name)
        os.getppid()
    sys.stdout.flush()
    # Allocators and networks are torn down in an order that ncnn does not survive.
    os._exit(0)


main()
