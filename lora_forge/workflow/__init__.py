"""The use cases: the only place where the stations meet. Each module is a fold of small tasks.

gather, gather_dataset, holdout   read and measure what one call names
planning, checking                decide a plan; look at the dataset
run_…                             lay out, train, resume, end, compare and explain runs
dataset_…                         check, mend, caption, split and show a dataset
model_search, project_init, demo  the commands of the same names
"""
