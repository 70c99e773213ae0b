"""Front end for Caffe files: ``read_caffe(prototxt, caffemodel) -> Graph``."""

from shufflenet_deploy.network.frontends.caffe.reader import read_caffe

__all__ = ["read_caffe"]
