"""Checkpoint layouts: names and channel orders of the public implementations of ShuffleNet v1.

A ``Layout`` maps our names to theirs; ``channel_remap`` turns their channel order into ours.
Differences between them, besides names: where the shuffle stands and whether it is the paper's or
its inverse, which half of a concatenation comes first, biases before normalisation, the stem. What
some of them compute differently is described by fields of ``ShuffleNetConfig``.
"""

from __future__ import annotations

from shufflenet_deploy.zoo.config import Pooling, Preprocessing, Shuffle
from shufflenet_deploy.zoo.layout import Layout, Spelling

BGR_BYTES = Preprocessing(
    channel_order="BGR", value_range=(0.0, 255.0), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
)
_CIFAR100 = Preprocessing(
    resize=32,
    crop=32,
    mean=(0.5070752, 0.4865490, 0.4409178),
    std=(0.2673343, 0.2564385, 0.2761505),
)
_CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
_TENSORPACK = Preprocessing(
    channel_order="BGR", mean=(0.406, 0.456, 0.485), std=(0.225, 0.224, 0.229)
)
_CAFFE = Preprocessing(
    channel_order="BGR",
    value_range=(0.0, 255.0),
    mean=(103.94, 116.78, 123.68),
    std=(1 / 0.017, 1 / 0.017, 1 / 0.017),
)

NATIVE = Layout(
    name="native",
    stem="stem",
    stem_bn="stem_bn",
    unit="stage{stage}.{index}",
    parts=("compress", "compress_bn", "depthwise", "depthwise_bn", "expand", "expand_bn"),
    classifier="classifier",
    gated=True,
)

LAYOUTS: tuple[Layout, ...] = (
    NATIVE,
    Layout(
        name="megvii",
        stem="first_conv.0",
        stem_bn="first_conv.1",
        unit="features.{ordinal}",
        parts=(
            "branch_main_1.0",
            "branch_main_1.1",
            "branch_main_1.3",
            "branch_main_1.4",
            "branch_main_2.0",
            "branch_main_2.1",
        ),
        classifier="classifier.0",
        shuffle=Shuffle.INVERSE,
        shuffles_after_depthwise=True,
        classifier_bias=False,
        preprocessing=BGR_BYTES,
    ),
    Layout(
        name="pytorchcv",
        stem="features.init_block.conv",
        stem_bn="features.init_block.bn",
        unit="features.stage{stage}.unit{index}",
        parts=(
            "compress_conv1",
            "compress_bn1",
            "dw_conv2",
            "dw_bn2",
            "expand_conv3",
            "expand_bn3",
        ),
        classifier="output",
        first_stage=1,
        first_index=1,
        pool_first=False,
        preprocessing=Preprocessing(),
    ),
    Layout(
        name="mmpretrain",
        stem="conv1.conv",
        stem_bn="conv1.bn",
        unit="layers.{stage}.{index}",
        parts=(
            "g_conv_1x1_compress.conv",
            "g_conv_1x1_compress.bn",
            "depthwise_conv3x3_bn.conv",
            "depthwise_conv3x3_bn.bn",
            "g_conv_1x1_expand.conv",
            "g_conv_1x1_expand.bn",
        ),
        classifier="head.fc",
        first_stage=0,
        shuffles_after_depthwise=True,
        preprocessing=Preprocessing(),
    ),
    Layout(
        name="jaxony",
        stem="conv1",
        stem_bn=None,
        unit="stage{stage}.ShuffleUnit_Stage{stage}_{index}",
        parts=(
            "g_conv_1x1_compress.conv1x1",
            "g_conv_1x1_compress.batch_norm",
            "depthwise_conv3x3",
            "bn_after_depthwise",
            "g_conv_1x1_expand.conv1x1",
            "g_conv_1x1_expand.batch_norm",
        ),
        classifier="fc",
        biased=True,
        preprocessing=Preprocessing(),
    ),
    Layout(
        name="weiaicunzai",
        stem="conv1.conv",
        stem_bn="conv1.bn",
        unit="stage{stage}.{index}",
        parts=(
            "bottlneck.0.pointwise.0",
            "bottlneck.0.pointwise.1",
            "depthwise.depthwise.0",
            "depthwise.depthwise.1",
            "expand.pointwise.0",
            "expand.pointwise.1",
        ),
        classifier="fc",
        biased=True,
        small_pictures=True,
        preprocessing=_CIFAR100,
    ),
    Layout(
        name="kuangliu",
        stem="conv1",
        stem_bn="bn1",
        unit="layer{stage}.{index}",
        parts=("conv1", "bn1", "conv2", "bn2", "conv3", "bn3"),
        classifier="linear",
        first_stage=1,
        pool_first=False,
        first_shuffled=False,
        depthwise_relu=True,
        small_pictures=True,
        preprocessing=Preprocessing(
            resize=32, crop=32, mean=_CIFAR10_MEAN, std=(0.2023, 0.1994, 0.2010)
        ),
    ),
    Layout(
        name="chenhang98",
        stem="conv1",
        stem_bn="bn1",
        unit="stage{stage}.{index}",
        parts=("gconv1", "bn1", "dwconv", "bn", "gconv2", "bn2"),
        classifier="fc",
        pool_first=False,
        pooling=Pooling.HALVES,
        small_pictures=True,
        stage2_stride=1,
        preprocessing=Preprocessing(
            resize=32, crop=32, mean=_CIFAR10_MEAN, std=(0.247, 0.243, 0.261)
        ),
    ),
    Layout(
        name="farmingyard",
        stem="conv1",
        stem_bn="conv1",
        unit="resx{ordinal}",
        parts=("conv1", "conv1", "conv2", "conv2", "conv3", "conv3"),
        classifier="fc1000",
        join="_",
        spelling=Spelling(
            norm=("_scale.weight", "_scale.bias", "_bn.running_mean", "_bn.running_var")
        ),
        first_ordinal=1,
        pooling=Pooling.ROUNDED_UP,
        first_shuffled=False,
        preprocessing=_CAFFE,
    ),
    Layout(
        name="onnx-zoo",
        stem="gpu_0/conv3_0",
        stem_bn="gpu_0/conv3_0",
        unit="gpu_0/gconv",
        parts=("1_{even}", "1_{even}", "3_{ordinal}", "3_{ordinal}", "1_{odd}", "1_{odd}"),
        classifier="gpu_0/pred",
        join="",
        spelling=Spelling(
            weight="_w_0", bias="_b_0", norm=("_bn_s_0", "_bn_b_0", "_bn_rm_0", "_bn_riv_0")
        ),
        stem_biased=True,
        pool_first=False,
        pooling=Pooling.INSIDE,
        preprocessing=Preprocessing(),
    ),
    Layout(
        name="tensorpack",
        stem="conv1",
        stem_bn="conv1/bn",
        unit="stage{stage}/block{index}",
        parts=("conv1", "conv1/bn", "dconv", "dconv_bn", "conv2", "conv2_bn"),
        classifier="linear",
        join="/",
        spelling=Spelling(
            weight="/W", bias="/b", norm=("/gamma", "/beta", "/mean/EMA", "/variance/EMA")
        ),
        tensorflow_axes=True,
        shuffle=Shuffle.INVERSE,
        pooling=Pooling.SAME,
        preprocessing=_TENSORPACK,
    ),
)
