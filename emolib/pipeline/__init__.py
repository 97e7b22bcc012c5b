"""From a command to finished reports: parameters, order of phases, notebooks, pages."""
