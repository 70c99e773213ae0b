# The types of the lazily imported names of __init__.py.

from shufflenet_deploy.api import BenchResult as BenchResult
from shufflenet_deploy.api import bench as bench
from shufflenet_deploy.api import export as export
from shufflenet_deploy.api import load as load
from shufflenet_deploy.api import table as table

__version__: str
