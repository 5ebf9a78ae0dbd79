def pytest_terminal_summary(terminalreporter):
    """Print the tables, whichever process ran the tests."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, 'user_properties', ()):
                if name == 'robustness' and report.when == 'call':
                    terminalreporter.write_line(value)
