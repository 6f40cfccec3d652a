"""What is found out about a trained network, and the folder of a run."""
