"""Second-order optimizers: the Fisher information of a network, approximated and inverted.

With outputs z = f(x, θ), a loss that is −log p(y | z), and the Jacobian J of z with respect to
θ, the Fisher information is the generalised Gauss-Newton matrix

    F = E_x [ Jᵀ H J ],   H = E_{y ~ p(·|z)} [ ∇_z log p · (∇_z log p)ᵀ ] = −∇²_z log p,

the last equality for the likelihoods here, whose natural parameters are z (Martens 2020, "New
insights and perspectives on the natural gradient method", sections 8 and 9).

- ``likelihood``: p(y | z), and vectors v with E[v vᵀ] = H to carry back through the network;
- ``layers``: A and G, the Kronecker factors of a layer's block of F;
- ``inverses``: damping, inversion, and the product with a gradient;
- ``ranks``: sums over ranks, and work shared out among them;
- ``kfac``, ``natural_gradient``: the optimizers.

Modules here import torch; the component files beside this folder do not.
"""
