"""Entry points for users of another library: its names, on our operation.

``tieless.compat.freegrad`` runs programs written for freegrad 1.0 with only their import changed;
``tieless.compat.snntorch`` and ``tieless.compat.spikingjelly`` give the neurons of those libraries our rules.
None of them is imported by ``import tieless``, and none needs the other library.
"""
