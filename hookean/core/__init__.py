"""What a model is: nodes, states, terms, the network that sums them, and where its states start."""
