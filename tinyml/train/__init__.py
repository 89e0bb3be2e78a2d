"""The training jobs that come with the package, their progress reports and pictures."""
