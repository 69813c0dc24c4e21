from raceway.messaging import LayerApplication

application = LayerApplication()
