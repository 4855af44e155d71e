"""A summary of runs as Markdown, JSON, HTML and safetensors."""
