"""Training on several processes of one machine: how they are started, and what they tell and agree on."""
