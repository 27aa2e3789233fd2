"""What workers do: one module for each kind of job, plain functions over the record, the engine and the volumes."""
