"""The tests that every channel layer passes: ours, and those of third parties.

::

    from unittest import IsolatedAsyncioTestCase
    from raceway.testing import LayerConformance

    class TestMine(LayerConformance, IsolatedAsyncioTestCase):
        def make_layer(self, **options):
            return MyLayer(hosts=["localhost"], **options)

It needs no pytest, and runs under pytest and Django's runner as well. ``LayerConformance`` asks for what the channel
layer specification promises; ``FrontConformance`` asks for that and for what a subclass of
``raceway.layers.ChannelLayer`` gives beyond it. Their attributes and methods without ``test`` are the hooks: what a
layer does not claim is skipped, and each skipped test says what that was.

``V26`` and such are faults of channel layers before these, which the tests that name them would have found.
"""

from raceway.testing.conformance.front import FrontConformance
from raceway.testing.conformance.specification import LayerConformance

__all__ = ["FrontConformance", "LayerConformance"]
