"""Ready-made parts: small declarations to subclass, nest, rename or replace."""

from nfsim.regions import presets
from nfsim.regions.motor import Motor
from nfsim.regions.prefrontal import PFC
from nfsim.regions.sensory import Sensory
from nfsim.regions.thalamus import Thalamus

__all__ = ["PFC", "Motor", "Sensory", "Thalamus", "presets"]
